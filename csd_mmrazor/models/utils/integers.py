# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager
from typing import Iterator

import torch.nn as nn


@contextmanager
def without_integers(module: nn.Module) -> Iterator[None]:
    """Leave parameters that are integers, such as indices, out of a network.

    MMEngine takes the mean of each parameter when it draws weights, which
    integers do not have.

    Args:
        module (nn.Module): As before afterwards.
    """
    kept = [
        (part, key, value)
        for part in module.modules()
        for key, value in part._parameters.items()
        if value is not None
        and not (value.is_floating_point() or value.is_complex())
    ]
    for part, key, _ in kept:
        part._parameters[key] = None
    try:
        yield
    finally:
        for part, key, value in kept:
            part._parameters[key] = value

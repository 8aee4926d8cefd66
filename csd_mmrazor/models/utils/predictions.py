# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any

import torch
from mmengine.structures import BaseDataElement


def bring_to_host(samples: Any) -> None:
    """Bring predictions to the CPU, each kind for all samples at once.

    mmpretrain's metrics copy the scores and the label of each sample by
    itself, and wait for the GPU each time.

    Args:
        samples (list[DataSample]): Changed in place. What is something else,
            and fields that differ in shape, stay as they are.
    """
    if (
        not isinstance(samples, (list, tuple))
        or not samples
        or not all(isinstance(sample, BaseDataElement) for sample in samples)
    ):
        return
    for name, first in samples[0].items():
        values = [sample.get(name) for sample in samples]
        kinds = {_kind(value) for value in values}
        if len(kinds) == 1 and torch.is_tensor(first):
            for sample, value in zip(samples, torch.stack(values).cpu()):
                sample.set_field(value, name, dtype=torch.Tensor)


def _kind(value: Any) -> Any:
    if not torch.is_tensor(value):
        return None
    return value.shape, value.dtype, value.device

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Layers whose weights a network changes while it runs.

Such as those of a max norm, whose network has ``weight.data =
torch.renorm(weight.data, ...)`` in its forward: nothing can be computed from
their weights beforehand.
"""

from collections import defaultdict
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Sequence, Set

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .cast_weights import is_plain
from .fast_frozen_bn import is_torchs_own


def _may_change(layer: nn.Module, *_: Any) -> None:
    """A mark, as a forward pre-hook, which copies of the layer have, too.

    Layers with hooks are left as they are by :func:`cast_together` and
    :func:`fast_frozen_bn`.
    """


@contextmanager
def marking_changing_weights(*networks: nn.Module) -> Iterator[None]:
    """Mark the layers whose weights are changed in the context.

    That is in place, with the same values, too, which a norm below its
    maximum has at first, or by other tensors for the same parameters. Of BN
    layers in eval mode, the running statistics count as well.

    Args:
        *networks (nn.Module): What runs in the context.
    """
    watched = [
        (layer, value, value.data_ptr())
        for network in networks
        for layer in network.modules()
        if is_plain(layer) or is_torchs_own(layer)
        for value in _values(layer)
        if value.numel()
    ]
    owners: Dict[int, Set[nn.Module]] = defaultdict(set)
    for layer, value, _ in watched:
        owners[_place(value)].add(layer)
    found: Set[nn.Module] = set()

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            for layer, value, before in watched:
                if value.data_ptr() != before:
                    found.add(layer)
            for place in _written(func._schema, args, kwargs or {}):
                found.update(owners.get(place, ()))
            return func(*args, **kwargs or {})

    try:
        with Mode():
            yield
    finally:
        for layer in found:
            layer.register_forward_pre_hook(_may_change)


def _values(layer: nn.Module) -> List[Tensor]:
    """What is computed with, as it is in a frozen layer."""
    values = [*layer.parameters(recurse=False)]
    if not layer.training:
        values += [*layer.buffers(recurse=False)]
    return values


def _place(value: Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _written(schema: Any, args: Sequence, kwargs: Dict) -> Iterator[int]:
    """Where the tensors lie that a call changes."""
    if not schema.is_mutable:
        return
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = kwargs.get(argument.name)
        if index < len(args):
            value = args[index]
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if torch.is_tensor(each) and each.layout == torch.strided:
                yield _place(each)

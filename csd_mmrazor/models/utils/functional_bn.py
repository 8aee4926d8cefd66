# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Batch norms that are no layers, whose statistics nothing can match."""

from contextlib import ExitStack, contextmanager
from typing import Any, Iterator, List

import torch.nn as nn
from torch.utils._python_dispatch import TorchDispatchMode

from .fast_frozen_bn import bn_layers


@contextmanager
def functional_bn(model: nn.Module) -> Iterator[List[bool]]:
    """Collect the batch norms with running statistics outside of BN layers.

    These are calls of ``F.batch_norm``, in exported graphs, too, and
    InstanceNorms that track their statistics.

    Args:
        model (nn.Module): What runs in the context.

    Yields:
        list[bool]: One a call, whether it changes its statistics.
    """
    calls: List[bool] = []
    within: List[nn.Module] = []

    class Mode(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            name = func._schema.name
            if 'batch_norm' in name and 'backward' not in name and not within:
                given = dict(
                    zip((a.name for a in func._schema.arguments), args),
                    **kwargs or {},
                )
                if given.get('running_mean') is not None:
                    calls.append(bool(given.get('training', False)))
            return func(*args, **kwargs or {})

    def enter(layer: nn.Module, *_: Any) -> None:
        within.append(layer)

    def leave(layer: nn.Module, *_: Any) -> None:
        within.pop()

    with ExitStack() as stack:
        for layer in bn_layers(model):
            for handle in (
                layer.register_forward_pre_hook(enter),
                layer.register_forward_hook(leave, always_call=True),
            ):
                stack.callback(handle.remove)
        stack.enter_context(Mode())
        yield calls

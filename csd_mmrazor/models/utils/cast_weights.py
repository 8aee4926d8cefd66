# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Weights for autocast, cast together.

Autocast casts each weight where it is used: a call for each layer and pass,
and one more for its gradient. A GPU takes as long to launch that as a small
layer.
"""

from contextlib import contextmanager
from functools import partial
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .fast_frozen_bn import has_torchs_forward

# They pass their weights to a single function, which autocast knows.
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


class _Cast(torch.autograd.Function):
    """Weights in another precision, and their gradients back."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        return tuple(_cast(weights, dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Optional[Tensor]) -> Any:
        found = iter(_cast([g for g in grads if g is not None], torch.float32))
        return None, *(None if g is None else next(found) for g in grads)


def _cast(tensors: Sequence[Tensor], dtype: torch.dtype) -> List[Tensor]:
    """Copies in another precision, in one call."""
    copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return copies


class _Weights:
    """Those of a module's layers, cast when the first one runs."""

    def __init__(self, layers: Sequence[Any]) -> None:
        # Once each, however many layers share it.
        self.params = list(
            dict.fromkeys(
                param
                for layer in layers
                for param in (layer.weight, layer.bias)
                if param is not None
            )
        )
        # By precision, and by whether gradients are computed.
        self._cast: Dict[Tuple[torch.dtype, bool], Dict[Tensor, Tensor]] = {}

    def in_precision(self, dtype: torch.dtype) -> Dict[Tensor, Tensor]:
        """All of them, by the original."""
        key = dtype, torch.is_grad_enabled()
        if key not in self._cast:
            trained, others = [], []
            for param in self.params:
                with_graph = key[1] and param.requires_grad
                (trained if with_graph else others).append(param)
            with torch.no_grad():
                found = dict(zip(others, _cast(others, dtype)))
            if trained:
                found.update(zip(trained, _Cast.apply(dtype, *trained)))
            self._cast[key] = found
        return self._cast[key]


def autocast_dtype(device: str) -> Optional[torch.dtype]:
    """What autocast casts to on a kind of device; None if it is off."""
    if hasattr(torch, 'get_autocast_dtype'):  # since torch 2.4
        is_known = torch.amp.is_autocast_available(device)
        enabled = is_known and torch.is_autocast_enabled(device)
        return torch.get_autocast_dtype(device) if enabled else None
    if device == 'cpu':
        enabled = torch.is_autocast_cpu_enabled()
        return torch.get_autocast_cpu_dtype() if enabled else None
    enabled = device == 'cuda' and torch.is_autocast_enabled()
    return torch.get_autocast_gpu_dtype() if enabled else None


def _forward(layer: Any, weights: _Weights, input: Tensor) -> Tensor:
    """What a layer does under autocast, with a weight that is cast already."""
    dtype = autocast_dtype(input.device.type)
    found = {} if dtype is None else weights.in_precision(dtype)
    weight, bias = found.get(layer.weight), layer.bias
    if bias is not None:
        bias = found.get(bias)
    # Without autocast, or where a weight was exchanged meanwhile.
    if weight is None or (bias is None) != (layer.bias is None):
        outputs: Tensor = type(layer).forward(layer, input)
    elif isinstance(layer, nn.Linear):
        outputs = F.linear(input, weight, bias)
    else:
        outputs = layer._conv_forward(input, weight, bias)
    return outputs


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer does exactly what torch's does, in float32."""
    return (
        # A parametrised layer has another class.
        type(layer) in _LAYERS
        and has_torchs_forward(layer)
        # Hooks can change its weights.
        and not layer._forward_pre_hooks
        and all(
            param is None or param.dtype == torch.float32
            for param in layer._parameters.values()
        )
    )


@contextmanager
def cast_together(*modules: nn.Module) -> Iterator[None]:
    """Cast the weights of each module for autocast in one call.

    The results are the same to the bit. Weights are not to change while the
    context is open, in which they are cast once; those that a network changes
    itself are left out after :func:`marking_changing_weights`. Without
    autocast, and for layers that are not exactly torch's own, nothing is
    different.

    Args:
        modules (nn.Module): Their weights, with those of all layers below,
            are cast when the first of their layers runs. Gradients arrive
            together as well, after the last.
    """
    changed: List[nn.Module] = []
    try:
        for module in modules:
            layers = [each for each in module.modules() if is_plain(each)]
            weights = _Weights(layers)
            for layer in layers:
                layer.forward = partial(_forward, layer, weights)
            changed += layers
        yield
    finally:
        for layer in changed:
            del layer.forward

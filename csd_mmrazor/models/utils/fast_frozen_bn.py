# Copyright (c) csd_mmrazor developers. All rights reserved.
"""BN layers of frozen networks, and the statistics of what they see.

In eval mode torch's BN layer is one multiplication and one addition a channel.
Done as that, with the statistics' gradient added in place, a layer with
statistics costs less than torch's own without. On two CPU cores, maps of
(64, 32, 32, 32), torch 2.11: ``torch.var_mean`` takes 5.4 ms, the two sums
here 0.4; the backward pass of ``batch_norm`` takes 1.0, the one here 0.4 with
the statistics' gradient in it. Any other layer, of a class of its own or with
hooks, keeps its forward.
"""

from contextlib import contextmanager
from functools import partial
from typing import (
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Tuple,
)

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.modules import module as torch_module
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import is_lazy

# torch 2.1 and 2.2 do not tell; CompiledNetworks refuses them.
_is_compiling = getattr(torch.compiler, 'is_compiling', lambda: False)


class BNStatistics(NamedTuple):
    """Statistics at the input of one BN layer, each (C, ), float32."""

    mean: Tensor  # of the batch
    var: Tensor  # of the batch, biased
    running_mean: Tensor  # of the data that the network was trained on
    running_var: Tensor


def bn_layers(model: nn.Module) -> List[nn.Module]:
    """The BN layers of a model that hold running statistics.

    Besides torch's and their subclasses, these are modules that keep
    ``running_mean`` and ``running_var`` in the same form, such as
    torchvision's ``FrozenBatchNorm2d``. Instance normalisation is not meant:
    its statistics are means of those of single images.
    """
    return [m for m in model.modules() if _has_statistics(m)]


def _has_statistics(module: nn.Module) -> bool:
    names = 'running_mean', 'running_var'
    if isinstance(module, _BatchNorm):
        found = [getattr(module, name, None) for name in names]
    elif isinstance(module, (_NormBase, torch.jit.ScriptModule)):
        return False
    else:
        found = [module._buffers.get(name) for name in names]
    return all(
        torch.is_tensor(values) and not is_lazy(values) and values.ndim == 1
        for values in found
    )


def _is_torchs_own(layer: nn.Module) -> bool:
    """Whether a layer does exactly what torch's BN layer does."""
    return (
        # A parametrised layer has another class.
        type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        and 'forward' not in vars(layer)
        # Hooks can change what it is given, or its weights.
        and not layer._forward_pre_hooks
        and not layer._forward_hooks
        and not layer._backward_pre_hooks
        and not layer._backward_hooks
        and not torch_module._global_forward_pre_hooks
        and not torch_module._global_forward_hooks
    )


@contextmanager
def seen_inputs(
    layers: Iterable[nn.Module], see: Callable[[nn.Module, Tensor], None]
) -> Iterator[None]:
    """Look at what BN layers are given, each time one runs.

    Args:
        layers (iterable[nn.Module]): From :func:`bn_layers`.
        see (Callable): Called with a layer and its input, (N, C, ...).

    Raises:
        ValueError: When a layer is given what has no such form.
    """

    def hook(layer, args, kwargs):
        see(layer, _maps(layer, [*args, *kwargs.values()]))

    handles = [
        layer.register_forward_pre_hook(hook, with_kwargs=True)
        for layer in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _maps(layer: nn.Module, values: List) -> Tensor:
    """The maps among the arguments of a layer, (N, C, ...)."""
    channels = len(layer.running_mean)
    maps = values[0] if values else None
    if torch.is_tensor(maps) and maps.ndim >= 2:
        if maps.shape[1] == channels:
            return maps
        if maps.shape[-1] == channels:
            return maps.movedim(-1, 1)
    raise ValueError(
        f'The BN layer {layer} has running statistics of {channels} channels, '
        'but is given '
        + (str(tuple(maps.shape)) if torch.is_tensor(maps) else repr(maps))
        + ': its statistics can be matched by maps of (N, C, ...) or '
        '(N, ..., C) only.'
    )


def _channels(values: Tensor, maps: Tensor) -> Tensor:
    """(C, ) in a shape that meets the channels of (N, C, ...)."""
    return values.view(1, -1, *[1] * (maps.ndim - 2))


def _full(maps: Tensor) -> Tensor:
    """Maps in float32 at least."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


class _ScaleShift(torch.autograd.Function):
    """``maps * scale + shift`` in each channel."""

    @staticmethod
    def forward(ctx, maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        outputs = _full(maps) * _channels(scale, maps)
        return outputs.add_(_channels(shift, maps)).to(maps.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tuple:
        (scale,) = ctx.saved_tensors
        return (grad * _channels(scale, grad)).to(grad.dtype), None, None


class _ScaleShiftMoments(torch.autograd.Function):
    """The same, and the first two moments of each channel about a center."""

    @staticmethod
    def forward(
        ctx,
        maps: Tensor,
        scale: Tensor,
        shift: Tensor,
        center: Tensor,
        workspace: Dict,
    ) -> Tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(maps, scale, center)
        full = _full(maps)
        count = maps.numel() // maps.shape[1]
        others = [dim for dim in range(maps.ndim) if dim != 1]
        # New memory for each layer would take longer than the sums.
        key = (full.shape, full.stride(), full.dtype, full.device)
        if key not in workspace:
            workspace[key] = torch.empty_like(full)
        centered = torch.sub(full, _channels(center, maps), out=workspace[key])
        first = centered.sum(others) / count
        second = centered.square_().sum(others) / count
        outputs = full * _channels(scale, maps)
        outputs = outputs.add_(_channels(shift, maps)).to(maps.dtype)
        return outputs, first, second

    @staticmethod
    def backward(
        ctx, grad_outputs: Tensor, grad_first: Tensor, grad_second: Tensor
    ) -> Tuple:
        maps, scale, center = ctx.saved_tensors
        count = maps.numel() // maps.shape[1]
        slope = grad_second * (2 / count)
        offset = grad_first / count - slope * center
        grad = torch.addcmul(
            _channels(offset, maps), _full(maps), _channels(slope, maps)
        )
        grad.addcmul_(_full(grad_outputs), _channels(scale, maps))
        return grad.to(maps.dtype), None, None, None, None


def _moments(maps: Tensor, center: Tensor) -> Tuple[Tensor, Tensor]:
    """The first two moments of each channel about a center."""
    centered = _full(maps) - _channels(center, maps)
    others = [dim for dim in range(maps.ndim) if dim != 1]
    return centered.mean(others), centered.square().mean(others)


def _collect(
    layer: nn.Module,
    statistics: List[BNStatistics],
    first: Tensor,
    second: Tensor,
) -> None:
    """Add the statistics with those moments about the running mean."""
    center, running_var = _full(layer.running_mean), _full(layer.running_var)
    statistics.append(
        BNStatistics(
            center + first, second - first * first, center, running_var
        )
    )


def _forward(
    layer: nn.Module,
    scale: Tensor,
    shift: Tensor,
    statistics: Optional[List[BNStatistics]],
    workspace: Dict,
    input: Tensor,
) -> Tensor:
    """What torch's layer does in a frozen network, in place of its forward."""
    layer._check_input_dim(input)
    if statistics is None:
        return _ScaleShift.apply(input, scale, shift)
    # Moments about the running mean, which is near: no digits are lost.
    center = _full(layer.running_mean)
    if _is_compiling():
        # The compiler makes one pass over the maps of this by itself.
        first, second = _moments(input, center)
        outputs = _full(input) * _channels(scale, input)
        outputs = (outputs + _channels(shift, input)).to(input.dtype)
    else:
        outputs, first, second = _ScaleShiftMoments.apply(
            input, scale, shift, center, workspace
        )
    _collect(layer, statistics, first, second)
    return outputs


@contextmanager
def fast_frozen_bn(
    model: nn.Module, with_statistics: bool = False
) -> Iterator[List[BNStatistics]]:
    """Run the BN layers of a frozen model the fast way.

    The model is to be in eval mode, and its weights are not to change while
    the context is open. Its layers are as they were when the context closes.
    Only layers that are exactly torch's own are replaced; all others keep
    their forward and, where they have running statistics, give those of their
    inputs.

    Args:
        model (nn.Module): The model.
        with_statistics (bool): Whether the statistics of every layer's input
            are collected. Defaults to False.

    Yields:
        list[BNStatistics]: One is added whenever a layer runs; empty it
        before the next pass.
    """
    statistics: List[BNStatistics] = []
    workspace: Dict = {}
    layers = [layer for layer in bn_layers(model) if not layer.training]
    fast = [layer for layer in layers if _is_torchs_own(layer)]
    others = [layer for layer in layers if not _is_torchs_own(layer)]

    def see(layer: nn.Module, maps: Tensor) -> None:
        moments = _moments(maps, _full(layer.running_mean))
        _collect(layer, statistics, *moments)

    with torch.no_grad():
        for layer in fast:
            scale = torch.rsqrt(_full(layer.running_var) + layer.eps)
            shift = -_full(layer.running_mean) * scale
            if layer.weight is not None:
                scale, shift = scale * layer.weight, shift * layer.weight
            if layer.bias is not None:
                shift = shift + layer.bias
            layer.forward = partial(
                _forward,
                layer,
                scale,
                shift,
                statistics if with_statistics else None,
                workspace,
            )
    try:
        with seen_inputs(others if with_statistics else (), see):
            yield statistics
    finally:
        for layer in fast:
            del layer.forward

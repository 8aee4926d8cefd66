# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The memory format of networks: channels_last where that computes right.

Convolutions are fastest in channels_last (docs/speed.md), but one kernel must
not run. On CPUs with AVX2 and no AVX-512 oneDNN, as in torch 2.11, makes the
weight gradients of a 1x1 convolution with a stride by ``jit_1x1:avx2``, which
in channels_last is wrong below 8 channels: gradients are off by half, and
memory that belongs to others is overwritten. Contiguous maps go another way.
torch takes channels_last where a convolution's weight *or* its input is, so
both are kept contiguous.

In a sweep of kernel sizes, strides, padding, dilation, groups, transposed
convolutions and dtypes, with guard pages around all memory, only float32
without groups was hit, and never 8 channels or more. What stays contiguous is
more than that, as other sizes and releases may differ, and does not depend on
the CPU's instructions, so that runs are alike on all CPUs.

Networks whose own code flattens maps by ``x.view(len(x), -1)``, or sees pairs
of numbers as complex ones, which torch refuses in channels_last, stay
contiguous on any device.
"""

from typing import Any, Callable, Dict, Optional, Tuple

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.modules.conv import _ConvNd

# What torch says of views that are none: of a shape, as complex numbers, as
# another dtype.
_NO_VIEW = (
    'view size is not compatible',
    'must have a last dimension with stride 1',
    'must have a stride divisible by 2',
    '(different element sizes)',
)
# Floats in a register of AVX2, below which the kernel is wrong.
_VECTOR = 8


def is_unsafe(layer: nn.Module) -> bool:
    """Whether a layer might run the kernel that is wrong in channels_last.

    A layer that is no convolution of torch's, but holds a weight for one,
    counts as well: nobody knows with what stride it is used.
    """
    if isinstance(layer, _ConvNd):
        return (
            set(layer.kernel_size) == {1}
            and max(layer.stride) > 1
            and layer.in_channels // layer.groups < _VECTOR
        )
    return any(
        weight.ndim == 4
        and weight.shape[1] < _VECTOR
        and weight.shape[2:] == (1, 1)
        for weight in layer.parameters(recurse=False)
        if not nn.parameter.is_lazy(weight)
    )


def memory_format(
    network: nn.Module, device: torch.device
) -> torch.memory_format:
    """The fastest memory format that a network computes right in.

    Args:
        network (nn.Module): The network.
        device (torch.device): Where it runs.

    Returns:
        torch.memory_format: ``torch.channels_last``, or
        ``torch.contiguous_format`` after :func:`keep_contiguous`, and on a
        CPU if a layer :func:`is_unsafe`.
    """
    if _is_kept(network):
        return torch.contiguous_format
    if device.type == 'cpu' and any(map(is_unsafe, network.modules())):
        return torch.contiguous_format
    return torch.channels_last


def set_memory_format(*networks: Optional[nn.Module]) -> None:
    """Give networks the memory format for the device that they are on.

    Layers that are unsafe see contiguous inputs from then on, whatever comes
    to them: images of a generator, another network's maps, tokens.

    Args:
        *networks (nn.Module, optional): The networks, each for itself; None
            and those without weights are passed over.
    """
    for network in networks:
        weight = next(network.parameters(), None) if network else None
        if weight is None:
            continue
        _set(network, memory_format(network, weight.device))
        for layer in filter(is_unsafe, network.modules()):
            if _contiguous_inputs not in layer._forward_pre_hooks.values():
                layer.register_forward_pre_hook(
                    _contiguous_inputs, with_kwargs=True
                )


def _set(network: nn.Module, form: torch.memory_format) -> None:
    def change(value: Tensor) -> Tensor:
        # Volumes and the like have no such layout.
        is_map = not nn.parameter.is_lazy(value) and value.ndim == 4
        return value.to(memory_format=form) if is_map else value

    network._apply(change)


def needs_contiguous(run: Callable[[], Any], *networks: nn.Module) -> bool:
    """Whether code fails for want of maps in their plain layout.

    Args:
        run (Callable): What is to be tried, without gradients, which unsafe
            layers get wrong; other errors are not raised.
        *networks (nn.Module): What takes part. Those that are not kept
            contiguous are in channels_last afterwards, on any device:
            :func:`set_memory_format` ends that.
    """
    for network in networks:
        if not _is_kept(network):
            _set(network, torch.channels_last)
    error: Optional[BaseException] = None
    try:
        run()
    except Exception as raised:
        error = raised
    while error is not None and not any(s in str(error) for s in _NO_VIEW):
        error = error.__cause__
    return error is not None


def keep_contiguous(network: nn.Module) -> None:
    """Let a network and its maps be contiguous from then on.

    Args:
        network (nn.Module): Of any class; its convolutions, its parts and
            itself get plain inputs, since each may be called alone.
    """
    for layer in () if _is_kept(network) else network.modules():
        is_entrance = layer is network or layer in network.children()
        if is_entrance or isinstance(layer, _ConvNd):
            layer.register_forward_pre_hook(_plain_inputs, with_kwargs=True)
    set_memory_format(network)


def contiguous(value: Tensor) -> Tensor:
    """A tensor in its plain layout, also where a dimension of 1 hides it.

    ``Tensor.contiguous`` returns maps of one channel as they are, and torch
    goes on to see channels_last in their strides.
    """
    return value.contiguous().to(memory_format=torch.contiguous_format)


def _is_kept(network: nn.Module) -> bool:
    return _plain_inputs in network._forward_pre_hooks.values()


def _plain_inputs(
    layer: nn.Module, args: Tuple, kwargs: Dict, device: Optional[str] = None
) -> Tuple[Tuple, Dict]:
    """Inputs of a layer that is kept contiguous, as a forward pre-hook."""

    def plain(value):
        is_meant = torch.is_tensor(value) and (
            device in (None, value.device.type)
        )
        return contiguous(value) if is_meant else value

    return (
        tuple(map(plain, args)),
        {name: plain(value) for name, value in kwargs.items()},
    )


def _contiguous_inputs(
    layer: nn.Module, args: Tuple, kwargs: Dict
) -> Tuple[Tuple, Dict]:
    """Inputs of an unsafe layer, as a forward pre-hook."""
    return _plain_inputs(layer, args, kwargs, 'cpu')

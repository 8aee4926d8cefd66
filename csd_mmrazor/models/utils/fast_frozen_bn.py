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

import operator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules import module as torch_module
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.parameter import is_lazy

# torch 2.1 and 2.2 do not tell; CompiledNetworks refuses them.
_is_compiling = getattr(torch.compiler, 'is_compiling', lambda: False)


_NAMES = 'running_mean', 'running_var', 'weight', 'bias'


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


def has_torchs_forward(layer: nn.Module) -> bool:
    """Whether the forward of a layer is one that torch defines.

    Libraries set others, on layers and on torch's classes.
    """
    return 'forward' not in vars(layer) and _is_torchs_class(layer)


def _is_torchs_class(layer: nn.Module) -> bool:
    defined = getattr(type(layer).forward, '__globals__', {})
    name: str = defined.get('__name__', '')
    return name.startswith('torch.nn.modules.')


def is_torchs_own(layer: nn.Module) -> bool:
    """Whether a layer does exactly what torch's BN layer does."""
    return (
        # A parametrised layer has another class.
        type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        and has_torchs_forward(layer)
        and {*_NAMES} <= {*layer._parameters, *layer._buffers}
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

    tried: Dict[nn.Module, bool] = {}

    def hook(layer, args, kwargs):
        maps = _maps(layer, [*args, *kwargs.values()])
        # Both ends could be the channels.
        if maps.ndim > 2 and maps.shape[1] == maps.shape[-1]:
            if layer not in tried:
                tried[layer] = _has_channels_last(layer, maps)
            if tried[layer]:
                maps = maps.movedim(-1, 1)
        see(layer, maps)

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


def _has_channels_last(layer: nn.Module, maps: Tensor) -> bool:
    """Whether a layer takes other widths at the place of dimension 1 alone.

    Args:
        layer (nn.Module): Torch's own have channels at dimension 1, and one
            that is compiled is not tried.
        maps (Tensor): What it is given, (N, C, ..., C).
    """
    if layer.training or _is_torchs_class(layer) or _is_compiling():
        return False
    middle, channels = maps.shape[2:-1], maps.shape[1]

    def takes(first: int, last: int) -> bool:
        try:
            with torch.no_grad():
                layer.forward(maps.new_zeros(1, first, *middle, last))
        except Exception:
            return False
        return True

    return takes(channels + 1, channels) and not takes(channels, channels + 1)


def _channels(values: Tensor, maps: Tensor) -> Tensor:
    """(C, ) in a shape that meets the channels of (N, C, ...)."""
    return values.view(1, -1, *[1] * (maps.ndim - 2))


def _count(maps: Tensor) -> int:
    """Values of each channel of (N, C, ...)."""
    return maps.numel() // maps.shape[1]


def _full(maps: Tensor) -> Tensor:
    """Maps in float32 at least."""
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def _given(layer: nn.Module) -> List[Optional[Tensor]]:
    """The tensors that torch's layer computes with as it is now."""
    # Not by attributes, whose look-up takes as long as a small kernel.
    params, buffers = layer._parameters, layer._buffers
    return [
        params[name] if name in params else buffers.get(name)
        for name in _NAMES
    ]


def _states(tensors: Iterable[Optional[Tensor]]) -> List:
    """What changes with the values of tensors; waits for no device."""
    return [
        (each.data_ptr(), None if each.is_inference() else each._version)
        for each in tensors
        if each is not None
    ]


class _Values(NamedTuple):
    """What a frozen layer computes with, each (C, ), float32 at least."""

    scale: Tensor
    shift: Tensor
    running_mean: Tensor
    running_var: Tensor
    weight: Optional[Tensor]
    bias: Optional[Tensor]
    eps: float
    given: List[Optional[Tensor]]  # what they were computed from
    states: List

    @classmethod
    def of(cls, layer: nn.Module) -> '_Values':
        """Those of a layer as it is now."""
        given = _given(layer)
        mean, var = _full(layer.running_mean), _full(layer.running_var)
        weight, bias = (
            None if values is None else _full(values.detach())
            for values in (layer.weight, layer.bias)
        )
        scale = torch.rsqrt(var + layer.eps)
        shift = -mean * scale
        if weight is not None:
            scale, shift = scale * weight, shift * weight
        if bias is not None:
            shift = shift + bias
        return cls(
            *(scale, shift, mean, var, weight, bias, layer.eps),
            *(given, _states(given)),
        )

    def are_of(self, layer: nn.Module) -> bool:
        """Whether a layer would still compute with them.

        Networks may exchange tensors in their forward: by domain, or by
        ``torch.func.functional_call``.
        """
        given = _given(layer)
        return (
            not layer.training
            and layer.eps == self.eps
            and all(map(operator.is_, given, self.given))
            # A compiler sees objects alone.
            and (_is_compiling() or _states(given) == self.states)
        )


def _scale_shift(maps: Tensor, values: _Values) -> Tensor:
    """``maps * scale + shift`` in each channel, in one call."""
    is_dense = maps.is_contiguous(memory_format=torch.channels_last)
    if maps.dtype == torch.bfloat16 or not (
        (maps.ndim == 4 and is_dense) or maps.dtype == torch.float16
    ):
        return F.batch_norm(
            maps,
            values.running_mean,
            values.running_var,
            values.weight,
            values.bias,
            eps=values.eps,
        )
    # Half the time of torch's kernel in this layout. Older releases have no
    # kernel for float16 on CPUs.
    outputs = torch.addcmul(
        _channels(values.shift, maps), maps, _channels(values.scale, maps)
    )
    return outputs.to(maps.dtype)


class _ScaleShift(torch.autograd.Function):
    """What a frozen layer makes of maps."""

    @staticmethod
    def forward(ctx, maps: Tensor, values: _Values) -> Tensor:
        ctx.save_for_backward(values.scale)
        return _scale_shift(maps, values)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tuple:
        (scale,) = ctx.saved_tensors
        scale = _channels(scale, grad)
        if torch.is_grad_enabled():  # with create_graph=True
            return (grad * scale).to(grad.dtype), None
        found = None
        if grad.dtype != scale.dtype:
            # In the precision of the maps, without another call.
            found = torch.empty_like(grad)
        return torch.mul(grad, scale, out=found), None


class _ScaleShiftSums(torch.autograd.Function):
    """The same, and the first two sums of each channel about its running
    mean."""

    @staticmethod
    def forward(
        ctx, maps: Tensor, values: _Values, workspace: Dict
    ) -> Tuple[Tensor, Tensor, Tensor]:
        center = values.running_mean
        ctx.save_for_backward(maps, values.scale, center)
        others = [dim for dim in range(maps.ndim) if dim != 1]
        # New memory for each layer would take longer than the sums.
        key = (maps.shape, maps.stride(), center.dtype, maps.device)
        if key not in workspace:
            workspace[key] = torch.empty_like(maps, dtype=center.dtype)
        centered = torch.sub(maps, _channels(center, maps), out=workspace[key])
        first = centered.sum(others)
        second = centered.square_().sum(others)
        return _scale_shift(maps, values), first, second

    @staticmethod
    def backward(
        ctx, grad_outputs: Tensor, grad_first: Tensor, grad_second: Tensor
    ) -> Tuple:
        maps, scale, center = ctx.saved_tensors
        # 2 * grad_second * (maps - center) + grad_first
        offset = torch.addcmul(grad_first, grad_second, center, value=-2)
        grad = torch.addcmul(
            _channels(offset, maps),
            maps,
            _channels(grad_second, maps),
            value=2,
        )
        scale = _channels(scale, maps)
        if torch.is_grad_enabled():  # with create_graph=True
            grad = torch.addcmul(grad, grad_outputs, scale)
            return grad.to(maps.dtype), None, None
        # In the precision of the maps, without another call.
        found = grad if grad.dtype == maps.dtype else torch.empty_like(maps)
        torch.addcmul(grad, grad_outputs, scale, out=found)
        return found, None, None


class _Sums(NamedTuple):
    """Of the input of one layer about its running mean, each (C, )."""

    running_mean: Tensor
    running_var: Tensor
    first: Tensor
    second: Tensor
    count: int  # what they are sums of

    @classmethod
    def of(cls, maps: Tensor, mean: Tensor, var: Tensor) -> '_Sums':
        """Those of maps, by running statistics in float32 at least.

        No maps, as an expert of a mixture gets that is chosen for no image,
        count as if they had the running statistics: they add nothing to a
        loss, and averages over steps are of the same layers in each.
        """
        if not maps.numel():
            return cls(mean, var, torch.zeros_like(mean), var, 1)
        centered = _full(maps) - _channels(mean, maps)
        others = [dim for dim in range(maps.ndim) if dim != 1]
        first, second = centered.sum(others), centered.square().sum(others)
        return cls(mean, var, first, second, _count(maps))


class CollectedStatistics(Sequence[BNStatistics]):
    """Statistics of the layers that ran, in their order.

    Those of all layers are computed at once, when the first is asked for.

    Args:
        sums (list[_Sums]): Layers add theirs to it.
    """

    def __init__(self, sums: List[_Sums]) -> None:
        self._sums = sums
        self._computed: List[BNStatistics] = []

    def __len__(self) -> int:
        return len(self._sums)

    def __getitem__(self, index: Any) -> Any:
        if len(self._computed) != len(self._sums):
            self._computed = _statistics(self._sums)
        return self._computed[index]

    def clear(self) -> None:
        """Forget them all, before the next pass."""
        self._sums.clear()
        self._computed = []


def _statistics(sums: List[_Sums]) -> List[BNStatistics]:
    """From sums about the running means, which are near: no digits are lost.

    In vectors of all layers, since a GPU takes as long for a small one.
    """
    centers = [each.running_mean for each in sums]
    widths = tuple(len(center) for center in centers)
    shares = _shares(
        tuple(each.count for each in sums),
        widths,
        centers[0].dtype,
        centers[0].device,
    )
    first = torch.cat([each.first for each in sums]) * shares
    second = torch.cat([each.second for each in sums]) * shares
    means = (torch.cat(centers) + first).split(widths)
    variances = (second - first * first).split(widths)
    return [
        BNStatistics(mean, var, each.running_mean, each.running_var)
        for mean, var, each in zip(means, variances, sums)
    ]


@lru_cache(maxsize=16)
def _shares(
    counts: Tuple[int, ...],
    widths: Tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Of each value in the mean of its channel, for all channels, (D, )."""
    shares = [
        share
        for count, width in zip(counts, widths)
        for share in [1 / count] * width
    ]
    # Kept, so that there is no copy to the device in later steps.
    with torch.inference_mode(False):
        return torch.tensor(shares, dtype=dtype, device=device)


def _forward(
    layer: nn.Module,
    values: _Values,
    sums: Optional[List[_Sums]],
    workspace: Dict,
    input: Tensor,
) -> Tensor:
    """What torch's layer does in a frozen network, in place of its forward."""
    if not values.are_of(layer):
        mean, var = layer.running_mean, layer.running_var
        if not (sums is None or mean is None or var is None):
            # Copies: others may be written in the same place.
            mean, var = _full(mean).clone(), _full(var).clone()
            sums.append(_Sums.of(input, mean, var))
        outputs: Tensor = type(layer).forward(layer, input)
        return outputs
    layer._check_input_dim(input)
    running = values.running_mean, values.running_var
    if sums is None:
        return _ScaleShift.apply(input, values)
    if _is_compiling() or not input.numel():
        # Of which the compiler makes one pass over the maps by itself.
        found = _Sums.of(input, *running)
        outputs = _full(input) * _channels(values.scale, input)
        outputs = (outputs + _channels(values.shift, input)).to(input.dtype)
    else:
        outputs, *both = _ScaleShiftSums.apply(input, values, workspace)
        found = _Sums(*running, *both, _count(input))
    sums.append(found)
    return outputs


@contextmanager
def fast_frozen_bn(
    model: nn.Module, with_statistics: bool = False
) -> Iterator[CollectedStatistics]:
    """Run the BN layers of a frozen model the fast way.

    The model is to be in eval mode. Its layers are as they were when the
    context closes. Only layers that are exactly torch's own are replaced, and
    where a network exchanges what one computes with, torch's forward runs;
    all others keep their forward and, where they have running statistics,
    give those of their inputs.

    Args:
        model (nn.Module): The model.
        with_statistics (bool): Whether the statistics of every layer's input
            are collected. Defaults to False.

    Yields:
        CollectedStatistics: One is added whenever a layer runs; empty it
        before the next pass.
    """
    sums: List[_Sums] = []
    workspace: Dict = {}
    layers = [layer for layer in bn_layers(model) if not layer.training]
    fast = [layer for layer in layers if is_torchs_own(layer)]
    others = [layer for layer in layers if not is_torchs_own(layer)]

    def see(layer: nn.Module, maps: Tensor) -> None:
        mean, var = _full(layer.running_mean), _full(layer.running_var)
        sums.append(_Sums.of(maps, mean, var))

    with torch.no_grad():
        for layer in fast:
            layer.forward = partial(
                _forward,
                layer,
                _Values.of(layer),
                sums if with_statistics else None,
                workspace,
            )
    try:
        with seen_inputs(others if with_statistics else (), see):
            yield CollectedStatistics(sums)
    finally:
        for layer in fast:
            del layer.forward

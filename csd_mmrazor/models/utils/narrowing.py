# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A network with the layers of a pruned one, told by the shapes of weights."""

import copy
from typing import Dict, List, Sequence, Tuple

import torch
import torch.nn as nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ...utils.error_text import named_error
from .views import find_inputs, heads_of, split_channels, views_of

Shapes = Dict[str, Sequence[int]]


def narrow(network: nn.Module, shapes: Shapes) -> nn.Module:
    """Narrow the layers of a network to those of a pruned one.

    Who prunes channels leaves layers of the same names with fewer channels;
    how many, the shapes of the weights say. So neither the pruned module nor
    the program that pruned it is needed. What they do not say alone, such as
    how many groups of a convolution are left, one pass tells.

    Args:
        network (nn.Module): Before it was pruned. Changed: each weight keeps
            its first channels, until those of the pruned network are loaded.
        shapes (dict[str, sequence[int]]): Of the pruned network's weights,
            by their names.

    Returns:
        nn.Module: The same network.

    Raises:
        ValueError: If it has other weights, or narrower ones, or channels of
            a layer were pruned that its weights do not tell, as of heads of
            attention; names it.
    """
    own = {
        name: tuple(value.shape)
        for name, value in network.state_dict().items()
        if isinstance(value, torch.Tensor)
    }
    shapes = {name: tuple(shape) for name, shape in shapes.items()}
    kind = type(network).__name__
    # Torch's counters of batches, which some programs leave out.
    differing = {
        name
        for name in own.keys() ^ shapes.keys()
        if not name.endswith('num_batches_tracked')
    }
    if differing:
        raise ValueError(
            f'{kind} is not the network that was pruned: {len(differing)} '
            'weights are in one of the two alone, such as '
            f'{", ".join(sorted(differing)[:3])}. Pruned channels can be '
            'told from shapes; removed layers cannot.'
        )
    for name, shape in shapes.items():
        before = own.get(name, shape)
        if len(before) != len(shape) or any(
            not 0 < now <= full for now, full in zip(shape, before)
        ):
            raise ValueError(
                f'{name} of the pruned {kind} is of shape {shape}, where it '
                f'was {before} before: a pruned network is nowhere wider. '
                'Name the network that it was pruned from.'
            )
    if all(shape == own.get(name, shape) for name, shape in shapes.items()):
        return network
    whole = copy.deepcopy(network)
    cuts: Dict[int, nn.Parameter] = {}
    for name, layer in network.named_modules():
        prefix = f'{name}.' if name else ''
        found = {
            key: shapes[prefix + key]
            for key in (*layer._parameters, *layer._buffers)
            if prefix + key in shapes
        }
        if any(shapes[prefix + key] != own[prefix + key] for key in found):
            _narrow_layer(name, layer, found, cuts)
    _look(whole, network)
    return network


def _look(whole: nn.Module, network: nn.Module) -> None:
    """Compare one pass of a network and of the narrowed one.

    Raises:
        ValueError: If the narrowed one computes nothing, or divides channels
            in a way that shapes do not tell.
    """
    layers = dict(network.named_modules())
    before = dict(whole.named_modules())
    unsure = {
        name: _readings(before[name], layer.weight.shape)
        for name, layer in layers.items()
        if isinstance(layer, _ConvNd)
        and layer.weight.shape != before[name].weight.shape
    }
    unsure = {name: found for name, found in unsure.items() if len(found) > 1}
    found = find_inputs(whole)
    if found is None:
        for name in unsure:
            raise ValueError(
                f'{name} has either {unsure[name][0]} groups left or '
                f'narrower ones, which its weights do not tell. {_BY_HAND}'
            )
        for name, heads in heads_of(network).items():
            prefix = f'{name}.' if name else ''
            for key, layer in layers.items():
                if (
                    key.startswith(prefix)
                    and isinstance(layer, (nn.Linear, _ConvNd))
                    and layer.weight.shape != before[key].weight.shape
                ):
                    raise ValueError(_of_heads(key, heads))
        return
    inputs, views = found
    last = ''
    narrowed = copy.deepcopy(network).to(inputs.device).eval()
    parts = dict(narrowed.named_modules())

    def see(name: str, maps: torch.Tensor) -> None:
        nonlocal last
        last = name
        if name in unsure:
            each = layers[name].weight.shape[1]
            for layer in (layers[name], parts[name]):
                layer.in_channels = maps.shape[1]
                layer.groups = maps.shape[1] // each

    try:
        split = split_channels(views, views_of(narrowed, inputs, see))
    except Exception as error:
        raise ValueError(
            f'{type(network).__name__} takes images of '
            f'{tuple(inputs.shape[1:])}, but not with these channels: in or '
            f'after {last}, {named_error(error)}. {_BY_HAND}'
        ) from error
    if split is not None:
        raise ValueError(_of_heads(split, 'several axes'))


_BY_HAND = (
    'Build the pruned network by a function of your own (TorchClassifier).'
)


def _of_heads(name: str, heads: str) -> str:
    return (
        f'{name} was narrowed, and its channels are divided among '
        f'{heads}: whether heads (or groups) are left out or narrower cannot '
        f'be told from its weights. {_BY_HAND}'
    )


def _narrow_layer(
    name: str,
    layer: nn.Module,
    shapes: Dict[str, Tuple[int, ...]],
    cuts: Dict[int, nn.Parameter],
) -> None:
    """Set what a layer says of its channels, and cut its weights.

    Args:
        name (str): Of the layer.
        layer (nn.Module): The layer.
        shapes (dict[str, tuple[int]]): What its weights become.
        cuts (dict[int, nn.Parameter]): Those that other layers have as well
            and that were cut already, by ``id``; added to.
    """
    weight = shapes.get('weight', ())
    if isinstance(layer, _ConvNd):
        _narrow_conv(name, layer, weight)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight
    elif isinstance(layer, _NormBase):
        layer.num_features = next(s[0] for s in shapes.values() if s)
    elif hasattr(layer, 'normalized_shape'):
        # LayerNorm, RMSNorm and what libraries have in their place.
        layer.normalized_shape = weight
    elif isinstance(layer, nn.GroupNorm):
        (layer.num_channels,) = weight
        if layer.num_channels % layer.num_groups:
            raise ValueError(
                f'{name} has {layer.num_groups} groups, into which its '
                f'{layer.num_channels} channels cannot be divided.'
            )
    elif isinstance(layer, nn.PReLU):
        (layer.num_parameters,) = weight
    elif isinstance(layer, nn.MultiheadAttention):
        raise ValueError(
            f'{name} is a {type(layer).__name__} that was narrowed, and how '
            f'many heads are left cannot be told from its weights. {_BY_HAND}'
        )
    for key, shape in shapes.items():
        value = getattr(layer, key)
        cut = value.detach()[tuple(slice(n) for n in shape)].clone()
        if isinstance(value, nn.Parameter):
            cut = nn.Parameter(cut, value.requires_grad)
            cut = cuts.setdefault(id(value), cut)
        setattr(layer, key, cut)


def _narrow_conv(name: str, layer: _ConvNd, weight: Tuple[int, ...]) -> None:
    if layer.transposed or weight[2:] != tuple(layer.weight.shape[2:]):
        raise ValueError(
            f'{name} is a {type(layer).__name__} whose pruned weights, of '
            f'shape {weight}, do not say what its channels are.'
        )
    readings = _readings(layer, weight)
    if not readings and weight[1] == layer.weight.shape[1]:
        raise ValueError(
            f'{name} is left with {weight[0]} of {layer.out_channels} '
            'channels, which is no whole number of its groups.'
        )
    if not readings:
        raise ValueError(
            f'{name} has {layer.groups} groups, into which its {weight[0]} '
            'channels cannot be divided.'
        )
    layer.groups = readings[0]
    layer.out_channels = weight[0]
    layer.in_channels = weight[1] * layer.groups


def _readings(layer: _ConvNd, weight: Sequence[int]) -> List[int]:
    """How many groups a convolution may have left, by its pruned weights."""
    found = []
    groups, rest = divmod(layer.groups * weight[0], layer.out_channels)
    if weight[1] == layer.weight.shape[1] and not rest:
        # Whole groups were removed, as of a depthwise convolution.
        found.append(groups)
    if weight[0] % layer.groups == 0:
        found.append(layer.groups)
    return [*dict.fromkeys(found)]

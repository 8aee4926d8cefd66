# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A network with the layers of a pruned one, told by the shapes of weights."""

from typing import Dict, Sequence, Tuple

import torch
import torch.nn as nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

Shapes = Dict[str, Sequence[int]]


def narrow(network: nn.Module, shapes: Shapes) -> nn.Module:
    """Narrow the layers of a network to those of a pruned one.

    Who prunes channels leaves layers of the same names with fewer channels;
    how many, the shapes of the weights say. So neither the pruned module nor
    the program that pruned it is needed.

    Args:
        network (nn.Module): Before it was pruned. Changed: each weight keeps
            its first channels, until those of the pruned network are loaded.
        shapes (dict[str, sequence[int]]): Of the pruned network's weights,
            by their names.

    Returns:
        nn.Module: The same network.

    Raises:
        ValueError: If it has other weights, or narrower ones, or a layer is
            of a kind whose channels its weights do not tell; names it.
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
    return network


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
    elif isinstance(layer, nn.LayerNorm):
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
            'many heads are left cannot be told from its weights. Build the '
            'pruned network by a function of your own (TorchClassifier).'
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
    out, each = weight[:2]
    if layer.groups > 1 and each == layer.weight.shape[1]:
        # Whole groups were removed, as of a depthwise convolution.
        layer.groups, rest = divmod(layer.groups * out, layer.out_channels)
        if rest:
            raise ValueError(
                f'{name} is left with {out} of {layer.out_channels} '
                'channels, which is no whole number of its groups.'
            )
    elif out % layer.groups:
        raise ValueError(
            f'{name} has {layer.groups} groups, into which its {out} '
            'channels cannot be divided.'
        )
    layer.out_channels, layer.in_channels = out, each * layer.groups

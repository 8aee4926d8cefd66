# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether a network's weights and statistics can be worked with."""

from typing import List

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.parameter import is_lazy

from .fast_frozen_bn import bn_layers, seen_inputs

_WHAT_TO_DO = (
    'Its file is damaged or its training diverged: give another checkpoint '
    'of it, or train it again.'
)


def check_weights(model: nn.Module, who: str) -> None:
    """Refuse a network whose weights or statistics no training leaves.

    Args:
        model (nn.Module): The network.
        who (str): What messages call it, such as 'teacher "resnet34"'.

    Raises:
        ValueError: If a weight is NaN or infinite, a buffer has a NaN, or a
            running statistic is not finite or a variance below 0; names the
            network and the layer.
    """
    buffers = dict(model.named_buffers())
    for name, values in [*model.named_parameters(), *buffers.items()]:
        if is_lazy(values) or values.is_meta:
            continue
        if not (values.is_floating_point() or values.is_complex()):
            continue
        bad, what = ~values.isfinite(), 'NaN or infinite'
        last = name.rpartition('.')[2]
        if name in buffers and last not in ('running_mean', 'running_var'):
            # Masks of attention hold infinities.
            bad, what = values.isnan(), 'NaN'
        elif last == 'running_var' and not bad.any():
            bad, what = values < 0, 'negative'
        if bad.any():
            raise ValueError(
                f'{who} ({type(model).__name__}) has {int(bad.sum())} {what} '
                f'of {values.numel()} values in "{name}". {_WHAT_TO_DO}'
            )


def check_statistics(model: nn.Module, inputs: Tensor, who: str) -> List[str]:
    """Look in one pass at the BN layers that run whether they were trained.

    A running variance of 0 is what a channel has that is the same number in
    every image, as pruned and dead ones are; that is no harm. A channel that
    does vary would come out hundreds of times too large.

    Args:
        model (nn.Module): The network, in eval mode.
        inputs (Tensor): (N, C, H, W), normalised.
        who (str): What messages call it.

    Returns:
        list[str]: The layers that never saw a batch, whose statistics are
        still mean 0 and variance 1.

    Raises:
        ValueError: If a running variance is 0 and its channel varies; names
            the network and the layer.
    """
    names = {layer: name for name, layer in model.named_modules()}
    new: List[str] = []

    def see(layer: nn.Module, maps: Tensor) -> None:
        mean, var = layer.running_mean, layer.running_var
        distance = maps.movedim(1, -1).flatten(0, -2) - mean
        eps = getattr(layer, 'eps', 1e-5)
        bad = (var == 0) & (distance.square().mean(0) > eps)
        if bad.any():
            raise ValueError(
                f'{who} ({type(model).__name__}) has a running variance of 0 '
                f'in {int(bad.sum())} of {len(var)} channels of '
                f'"{names[layer]}.running_var" that are not the same in every '
                f'image. {_WHAT_TO_DO}'
            )
        count = getattr(layer, 'num_batches_tracked', None)
        untouched = (mean == 0).all() and (var == 1).all()
        if count is not None and not count and untouched:
            new.append(names[layer])

    with torch.no_grad(), seen_inputs(bn_layers(model), see):
        model(inputs, mode='tensor')
    return new

# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple, Tuple

import torch
import torch.nn as nn
from mmrazor.registry import MODELS
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from .base import WeightedLoss


class BNStatistics(NamedTuple):
    """Statistics at the input of one BN layer, each (C, ), float32."""

    mean: Tensor  # of the batch
    var: Tensor  # of the batch, biased
    running_mean: Tensor  # of the data that the network was trained on
    running_var: Tensor


def batch_statistics(maps: Tensor) -> Tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel, in float32 at least.

    Args:
        maps (Tensor): (N, C, ...).

    Returns:
        tuple[Tensor, Tensor]: Mean and variance, (C, ) each.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    maps = maps.transpose(0, 1).flatten(1)  # (C, N * ...)
    return maps.mean(1), maps.var(1, unbiased=False)


def bn_layers(model: nn.Module) -> List[nn.Module]:
    """The BN layers of a model that hold running statistics."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]


@contextmanager
def recorded_bn_statistics(model: nn.Module) -> Iterator[List[BNStatistics]]:
    """Collect the statistics of every BN layer that runs in the context.

    The hooks are gone when the context closes.
    """
    statistics = []

    def hook(layer, inputs):
        mean, var = batch_statistics(inputs[0])
        statistics.append(
            BNStatistics(mean, var, layer.running_mean, layer.running_var)
        )

    handles = [
        layer.register_forward_pre_hook(hook) for layer in bn_layers(model)
    ]
    try:
        yield statistics
    finally:
        for handle in handles:
            handle.remove()


def bn_statistics_loss(statistics: List[BNStatistics]) -> Tensor:
    """How far a batch is from the data that a network was trained on.

    The sum over the layers of ``||mean - running_mean||_2 +
    ||var - running_var||_2``.

    Args:
        statistics (list[BNStatistics]): One a BN layer.

    Returns:
        Tensor: A scalar.
    """
    return sum(
        torch.linalg.vector_norm(layer.mean - layer.running_mean)
        + torch.linalg.vector_norm(layer.var - layer.running_var)
        for layer in statistics
    )


@MODELS.register_module()
class BNStatisticsLoss(WeightedLoss):
    """Batch statistics against the teacher's running ones.

    From DeepInversion (Yin et al., CVPR 2020), with the plain norms that CMI
    and CSD use (authors' code, datafree/hooks.py). CSD weighs it 1.
    """

    def forward(self, bn_statistics: List[BNStatistics]) -> Tensor:
        """The weighted term, a scalar; see :func:`bn_statistics_loss`."""
        return self.loss_weight * bn_statistics_loss(bn_statistics)

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import List

import torch
from mmrazor.registry import MODELS
from torch import Tensor

from ..utils import BNStatistics
from .base import WeightedLoss


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

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import List, Optional, Sequence

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


@MODELS.register_module()
class MovingBNStatisticsLoss(WeightedLoss):
    """As ``BNStatisticsLoss``, but of a moving average over rounds.

    Each round's statistics count ``1 - momentum``; the rest is the average
    of the rounds before it. So all images together match the data's
    statistics, while a batch may differ (Fast-Datafree, Fang et al., AAAI
    2022; authors' code, datafree/hooks.py, ``mmt``). The average lasts from
    round to round.

    Args:
        loss_weight (float): Defaults to 10 (authors' scripts).
        momentum (float): 0..1, without 1. Defaults to 0.9 (authors' scripts).
    """

    average: Tensor
    rounds: Tensor

    def __init__(
        self, loss_weight: float = 10.0, momentum: float = 0.9
    ) -> None:
        super().__init__(loss_weight)
        if not 0 <= momentum < 1:
            raise ValueError(
                'momentum of MovingBNStatisticsLoss should be 0 or more and '
                f'below 1, but got {momentum!r}.'
            )
        self.momentum = momentum

    def prepare(self, channels: Sequence[int]) -> None:
        """Create the running averages.

        Args:
            channels (sequence[int]): Channels of the teacher's BN layers.
        """
        self.channels = list(channels)
        # Means and variances of all layers, one after the other.
        self.register_buffer('average', torch.zeros(2, sum(channels)))
        self.register_buffer('rounds', torch.zeros(()))
        self.latest: Optional[Tensor] = None

    def forward(self, bn_statistics: List[BNStatistics]) -> Tensor:
        """The weighted term, a scalar."""
        self.latest = torch.stack(
            [
                torch.cat([layer.mean for layer in bn_statistics]),
                torch.cat([layer.var for layer in bn_statistics]),
            ]
        ).detach()
        # The first round has no average yet.
        share = self.momentum * (self.rounds > 0)
        averages = zip(*(each.split(self.channels) for each in self.average))
        return self.loss_weight * bn_statistics_loss(
            [
                layer._replace(
                    mean=torch.lerp(layer.mean, mean, share),
                    var=torch.lerp(layer.var, var, share),
                )
                for layer, (mean, var) in zip(bn_statistics, averages)
            ]
        )

    def end_round(self) -> None:
        """Take the statistics of a round's last step into the average."""
        assert self.latest is not None, 'a round has a step or more'
        share = self.momentum * (self.rounds > 0)
        self.average.copy_(torch.lerp(self.latest, self.average, share))
        self.rounds += 1
        self.latest = None

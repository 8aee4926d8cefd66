# Copyright (c) csd_mmrazor developers. All rights reserved.
from functools import lru_cache
from itertools import accumulate
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch import Tensor

from ..utils import BNStatistics
from .base import WeightedLoss


def bn_statistics_loss(statistics: Sequence[BNStatistics]) -> Tensor:
    """How far a batch is from the data that a network was trained on.

    The sum over the layers of ``||mean - running_mean||_2 +
    ||var - running_var||_2``.

    Args:
        statistics (sequence[BNStatistics]): One a BN layer.

    Returns:
        Tensor: A scalar.
    """
    batch = torch.cat(
        [layer.mean for layer in statistics]
        + [layer.var for layer in statistics]
    )
    return _distance(batch, statistics)


def _distance(batch: Tensor, statistics: Sequence[BNStatistics]) -> Tensor:
    """The same sum of other values than those of the batch.

    Args:
        batch (Tensor): Means of all layers, then variances, (2 * D, ).
        statistics (sequence[BNStatistics]): One a BN layer.
    """
    running = torch.cat(
        [layer.running_mean for layer in statistics]
        + [layer.running_var for layer in statistics]
    )
    widths = tuple(len(layer.mean) for layer in statistics)
    return segment_norms(batch - running, widths * 2).sum()


def segment_norms(values: Tensor, widths: Tuple[int, ...]) -> Tensor:
    """Euclidean norms of vectors of any lengths, in a few calls for all.

    Args:
        values (Tensor): The vectors, one after the other, (D, ).
        widths (tuple[int]): Their lengths, whose sum is D.

    Returns:
        Tensor: One a vector, (len(widths), ).
    """
    places = _places(widths, values.device)
    # A zero at the end fills up the rows of shorter vectors.
    padded = F.pad(values, (0, 1)).index_select(0, places.flatten())
    return torch.linalg.vector_norm(padded.view_as(places), dim=1)


@lru_cache(maxsize=16)
def _places(widths: Tuple[int, ...], device: torch.device) -> Tensor:
    """Where each vector's values are, one a row; behind all after its end."""
    ends = list(accumulate(widths))
    rows = [
        [*range(end - width, end)] + [ends[-1]] * (max(widths) - width)
        for end, width in zip(ends, widths)
    ]
    # Kept, so that there is no copy to the device in later steps.
    with torch.inference_mode(False):
        return torch.tensor(rows, device=device)


@MODELS.register_module()
class BNStatisticsLoss(WeightedLoss):
    """Batch statistics against the teacher's running ones.

    From DeepInversion (Yin et al., CVPR 2020), with the plain norms that CMI
    and CSD use (authors' code, datafree/hooks.py). CSD weighs it 1.
    """

    def forward(self, bn_statistics: Sequence[BNStatistics]) -> Tensor:
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
        # Means and variances of all layers, one after the other.
        self.register_buffer('average', torch.zeros(2, sum(channels)))
        self.register_buffer('rounds', torch.zeros(()))
        self.latest: Optional[Tensor] = None

    def forward(self, bn_statistics: Sequence[BNStatistics]) -> Tensor:
        """The weighted term, a scalar."""
        batch = torch.cat(
            [layer.mean for layer in bn_statistics]
            + [layer.var for layer in bn_statistics]
        )
        self.latest = batch.detach().view_as(self.average)
        # The first round has no average yet.
        share = self.momentum * (self.rounds > 0)
        moved = torch.lerp(batch, self.average.flatten(), share)
        return self.loss_weight * _distance(moved, bn_statistics)

    def end_round(self) -> None:
        """Take the statistics of a round's last step into the average."""
        assert self.latest is not None, 'a round has a step or more'
        share = self.momentum * (self.rounds > 0)
        self.average.copy_(torch.lerp(self.latest, self.average, share))
        self.rounds += 1
        self.latest = None

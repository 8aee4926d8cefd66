# Copyright (c) csd_mmrazor developers. All rights reserved.
import math

import torch.nn as nn


class WeightedLoss(nn.Module):
    """A loss term with a weight.

    The synthesizer passes a term what the arguments of its ``forward`` are
    named after; see :class:`ImageSynthesizer` for the names there are.

    Args:
        loss_weight (float): Weight of the term, 0 or more; a term of weight 0
            is not computed. Defaults to 1.0.

    Raises:
        ValueError: If the weight is negative or not finite.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        if (
            not isinstance(loss_weight, (int, float))
            or not loss_weight >= 0
            or math.isinf(loss_weight)
        ):
            raise ValueError(
                f'loss_weight of {type(self).__name__} should be a finite '
                f'number, 0 or more, but got {loss_weight!r}. Terms that are '
                'pushed up have their minus sign built in.'
            )
        self.loss_weight = loss_weight

    def extra_repr(self) -> str:
        return f'loss_weight={self.loss_weight}'

# Copyright (c) csd_mmrazor developers. All rights reserved.
import math
from typing import Any, Dict, Optional, Sequence

import torch.nn as nn


class WeightedLoss(nn.Module):
    """A loss term of synthesis, with a weight.

    The arguments of its ``forward`` are named after what it looks at; see
    :class:`Observation` and :class:`OfTeacher` for the available names. What
    a term keeps from round to round are its parameters and buffers: they are
    created in :meth:`prepare`, saved beside the image bank and resumed.

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

    # Images of the bank that the term wants to see in each step, and of how
    # many of the newest they are drawn.
    memory_size: int = 0
    memory_capacity: int = 0
    # The optimizer of the term's parameters, which lasts through the run.
    # None trains them by that of the round.
    optimizer: Optional[Dict[str, Any]] = None
    # Whether the term is logged and not minimised.
    reported_only: bool = False

    def prepare(self, channels: Sequence[int]) -> None:
        """Create the persistent state; nothing by default.

        Args:
            channels (sequence[int]): Channels of the teacher's BN layers.
        """

    def end_round(self) -> None:
        """Update the persistent state after a round; nothing by default."""

    def extra_repr(self) -> str:
        return f'loss_weight={self.loss_weight}'

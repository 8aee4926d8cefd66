# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import List

import torch
from torch import Tensor

# At first, so that small gradients of the images survive.
FIRST_SCALE = 1024.0
# By how much it falls after a step that overflows.
_BACKOFF = 0.25
# Steps that tell nothing yet, as of a rehearsal.
_FEW = 2


class LossScale:
    """What the loss of synthesis is multiplied by under float16.

    A step whose gradients overflow is taken with gradients of 0, so that only
    momentum and weight decay change the weights, and the next ones have a
    quarter of the scale. All of it stays on the device, in memory of its own,
    so that no step waits for it and a graph can replay it.

    Args:
        first (Tensor): The scale of the first step, a scalar.
    """

    def __init__(self, first: Tensor) -> None:
        self.scale = first.clone()
        # Steps that did not overflow.
        self.taken = torch.zeros_like(first, dtype=torch.int64)

    @torch.no_grad()
    def unscale_(self, gradients: List[Tensor]) -> None:
        """Divide gradients by the scale; if one is NaN or Inf, clear all.

        Args:
            gradients (list[Tensor]): Are changed in place.
        """
        torch._foreach_mul_(gradients, 1 / self.scale)
        norms = torch.stack(torch._foreach_norm(gradients))
        is_finite = norms.isfinite().all()
        for gradient in gradients:
            gradient.copy_(torch.where(is_finite, gradient, 0))
        self.scale.mul_(torch.where(is_finite, 1.0, _BACKOFF))
        self.taken += is_finite

    def overflows(self, iters: int) -> bool:
        """Whether no scale would do; waits for the device.

        Args:
            iters (int): Steps of the round. Where they are few, none has to
                be taken: the next round may begin with a lower scale.
        """
        return bool(self.scale < 1) or (iters > _FEW and not self.taken)

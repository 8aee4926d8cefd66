# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import List

import torch
from torch import Tensor

# At the start of a round, so that small gradients of the images survive, and
# by how much it falls after a step that overflows.
_FIRST, _BACKOFF = 1024.0, 0.25
# Steps that tell nothing yet, as of a rehearsal.
_FEW = 2


class LossScale:
    """What the loss of synthesis is multiplied by under float16.

    A step whose gradients overflow changes nothing but what an optimizer
    remembers, and the next ones have a quarter of the scale. All of it stays
    on the device, in memory of its own, so that no step waits for it and a
    graph can replay it.

    Args:
        device (torch.device): The networks'.
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), _FIRST, device=device)
        # Steps that did not overflow.
        self.taken = torch.zeros((), dtype=torch.int64, device=device)

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
        """Whether a round learnt nothing by it; waits for the device.

        Args:
            iters (int): Steps of the round.
        """
        return bool(self.scale < 1) or (iters > _FEW and not self.taken)

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List, NamedTuple, Optional

import torch
from torch import Tensor


class SynthesisBatch(NamedTuple):
    """What a round of synthesis makes."""

    images: Tensor  # (N, C, H, W), uint8, on the networks' device
    labels: Tensor  # (N, ), int64
    terms: Dict[str, float]  # loss terms of the step that was kept
    step: int  # the step that was kept
    # The teacher's logits of each image, (N, K), float16, if they are kept.
    targets: Optional[Tensor] = None
    # What else of it is kept, (N, L), float16; see ``KeptMaps``.
    maps: Optional[Tensor] = None


class NonFiniteSynthesisError(FloatingPointError):
    """A loss term of a round of synthesis became NaN or Inf."""


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] to the nearest of 256 levels."""
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)


class BestStep:
    """The step of lowest loss so far.

    All of it stays on the device until the round ends: no step waits for its
    loss.

    Args:
        device (torch.device): The networks'.
        iters (int): Steps of the round.
    """

    def __init__(self, device: torch.device, iters: int) -> None:
        self.iters = iters
        self.loss = torch.full((), float('inf'), device=device)
        self.step = torch.full((), -1, device=device)
        self.images: Optional[Tensor] = None
        self.names: List[str] = []

    @torch.no_grad()
    def update(
        self,
        step: int,
        loss: Tensor,
        images: Tensor,
        terms: Dict[str, Tensor],
    ) -> None:
        """Keep a step if it is the best.

        Args:
            step (int): Its number, from 0.
            loss (Tensor): Total loss, a scalar.
            images (Tensor): In [0, 1], (N, C, H, W).
            terms (dict[str, Tensor]): All terms by name, scalars.
        """
        values = torch.stack([term.float() for term in terms.values()])
        if self.images is None:
            self.images, self.names = images, [*terms]
            self.values = values
            # The step in which each term was first not finite.
            self.first_bad = torch.full_like(values, self.iters)
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        self.step = torch.where(better, step, self.step)
        self.values = torch.where(better, values, self.values)
        self.images = torch.where(better, images, self.images)
        self.first_bad = torch.where(
            values.isfinite(), self.first_bad, self.first_bad.clamp(max=step)
        )

    def batch(self, labels: Tensor) -> SynthesisBatch:
        """The batch of the best step; waits for the device.

        Args:
            labels (Tensor): Classes that were asked for, (N, ).

        Raises:
            NonFiniteSynthesisError: If a term was NaN or Inf in any step.
        """
        assert self.images is not None, 'a round has a step or more'
        first_bad = self.first_bad.int().tolist()
        if min(first_bad) < self.iters:
            names = [
                name
                for name, step in zip(self.names, first_bad)
                if step == min(first_bad)
            ]
            raise NonFiniteSynthesisError(
                f'{", ".join(names)} of the synthesis became NaN or Inf in '
                f'step {min(first_bad)} of {self.iters}. Lower '
                "the learning rate of the synthesizer's optimizer or the "
                'weight of that term.'
            )
        return SynthesisBatch(
            to_uint8(self.images),
            labels,
            dict(zip(self.names, self.values.tolist())),
            int(self.step),
        )

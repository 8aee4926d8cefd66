# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, Iterable, List, NamedTuple, Optional

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
    """A round of synthesis became NaN or Inf."""


def check_last_step(trained: Iterable[Tensor], iters: int) -> None:
    """Check what the last step of a round left; waits for the device.

    After any other step, the loss terms of the next one show it.

    Args:
        trained (iterable[Tensor]): Weights and latents.
        iters (int): Steps of the round.

    Raises:
        NonFiniteSynthesisError: If something in them is NaN or Inf.
    """
    if not torch.stack([each.isfinite().all() for each in trained]).all():
        raise NonFiniteSynthesisError(
            'What the synthesis trains became NaN or Inf in its last step, '
            f'{iters - 1} of {iters}. Lower the learning rate of the '
            "synthesizer's optimizer or the weight of a term."
        )


def to_uint8(images: Tensor) -> Tensor:
    """Images in [0, 1] to the nearest of 256 levels."""
    return images.mul(255).round_().clamp_(0, 255).to(torch.uint8)


class BestStep:
    """The step of lowest loss so far.

    All of it stays on the device until the round ends: no step waits for its
    loss. It has memory of its own that stays where it is, so that what a
    step made may be overwritten by the next, and a graph can replay it.

    Args:
        device (torch.device): The networks'.
        iters (int): Steps of the round.
        takes_last (bool): Whether the last one counts as the best. Defaults
            to False.
    """

    def __init__(
        self, device: torch.device, iters: int, takes_last: bool = False
    ) -> None:
        self.iters, self.takes_last = iters, takes_last
        self.step = torch.full((), -1, device=device)
        self.now = torch.zeros((), dtype=torch.int64, device=device)
        self.images: Optional[Tensor] = None
        self.names: List[str] = []

    @torch.no_grad()
    def update(
        self, loss: Tensor, images: Tensor, terms: Dict[str, Tensor]
    ) -> None:
        """Keep the next step if it is the best.

        Args:
            loss (Tensor): Total loss, a scalar.
            images (Tensor): In [0, 1], (N, C, H, W).
            terms (dict[str, Tensor]): All terms by name, scalars.
        """
        values = torch.stack([term.float() for term in terms.values()])
        if self.images is None:
            self.images, self.names = images.clone(), [*terms]
            self.values = values.clone()
            self.loss = torch.full_like(loss, float('inf'))
            # The step in which each term was first not finite.
            self.first_bad = torch.full_like(values, self.iters)
        better = self.now >= 0 if self.takes_last else loss < self.loss
        for kept, value in (
            (self.loss, loss),
            (self.step, self.now),
            (self.values, values),
            (self.images, images),
        ):
            torch.where(better, value, kept, out=kept)
        torch.where(
            values.isfinite(),
            self.first_bad,
            self.first_bad.minimum(self.now),
            out=self.first_bad,
        )
        self.now += 1

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

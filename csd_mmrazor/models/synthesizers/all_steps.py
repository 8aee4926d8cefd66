# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Optional

import torch
import torch.nn as nn
from torch import Tensor

from ..utils import KeptMaps, to_float16
from .best_step import SynthesisBatch, to_uint8


class RoundToLevels(nn.Module):
    """Images in [0, 1] on the 256 levels of uint8; gradients pass as if not.

    So the networks see exactly what is kept of a step.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Round a batch, (N, C, H, W)."""
        with torch.no_grad():
            rest = images.mul(255).round_().clamp_(0, 255).div_(255) - images
        return images + rest


class AllSteps:
    """The images of every step of a round, as the networks saw them.

    They have their place on the device from the first step on: no step waits
    for its images, and a graph can replay it.

    Args:
        iters (int): Steps of the round.
        labels (Tensor, optional): Classes that each step asks for, (N, ).
            None labels images as the teacher decides.
        keep_targets (bool): Whether to keep the teacher's logits.
        kept_maps (KeptMaps, optional): What else of it is kept.
    """

    def __init__(
        self,
        iters: int,
        labels: Optional[Tensor],
        keep_targets: bool,
        kept_maps: Optional[KeptMaps] = None,
    ) -> None:
        self.iters = iters
        self.asked = labels
        self.keep_targets = keep_targets
        self.images: Tensor  # from the first step on
        self.labels: Tensor
        self.kept_maps = kept_maps
        self.targets: Optional[Tensor] = None
        self.maps: Optional[Tensor] = None

    @torch.no_grad()
    def update(self, images: Tensor, logits_t: Tensor) -> None:
        """Keep the next step.

        Args:
            images (Tensor): What the networks saw, in [0, 1], (N, C, H, W).
            logits_t (Tensor): What the teacher said of it, (N, K).
        """
        num = len(images)
        if not hasattr(self, 'images'):
            total = self.iters * num
            # Where the images of this step belong.
            self.rows = torch.arange(num, device=images.device)
            self.images = images.new_empty(
                (total, *images.shape[1:]), dtype=torch.uint8
            )
            self.labels = logits_t.new_empty(total, dtype=torch.int64)
            if self.keep_targets:
                self.targets = logits_t.new_empty(
                    (total, logits_t.shape[1]), dtype=torch.float16
                )
            if self.kept_maps is not None:
                self.maps = logits_t.new_empty(
                    (total, self.kept_maps.size), dtype=torch.float16
                )
        self.images.index_copy_(0, self.rows, to_uint8(images))
        labels = logits_t.argmax(1) if self.asked is None else self.asked
        self.labels.index_copy_(0, self.rows, labels)
        if self.targets is not None:
            self.targets.index_copy_(0, self.rows, to_float16(logits_t))
        if self.maps is not None and self.kept_maps is not None:
            self.maps.index_copy_(0, self.rows, self.kept_maps.recorded())
        self.rows += num

    def batch(self, best: SynthesisBatch) -> SynthesisBatch:
        """The batch of a round in place of its best step's."""
        return best._replace(
            images=self.images,
            labels=self.labels,
            targets=self.targets,
            maps=self.maps,
        )

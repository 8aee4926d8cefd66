# Copyright (c) csd_mmrazor developers. All rights reserved.
from functools import partial
from typing import Tuple

import torch
import torch.nn as nn
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer, check_probability
from ..utils import drawn


def roll_flip(images: Tensor, offsets: Tensor, flip: Tensor) -> Tensor:
    """Roll all images alike, and perhaps mirror them.

    By one gather, as no step waits to learn what was drawn.

    Args:
        images (Tensor): (N, C, H, W), any dtype.
        offsets (Tensor): Pixels down and right, (2, ), int64.
        flip (Tensor): Whether they are mirrored afterwards, a bool.

    Returns:
        Tensor: (N, C, H, W).
    """
    num, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device) - offsets[0]
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip, width - 1 - columns, columns) - offsets[1]
    index = (rows % height)[:, None] * width + columns % width
    index = index.flatten().expand(num, channels, -1)  # (N, C, H * W)
    return images.flatten(2).gather(2, index).view_as(images)


@MODELS.register_module()
class RandomRoll(nn.Module):
    """DeepInversion's jitter: all images are shifted alike, round the edges.

    One offset and one flip are drawn for the whole batch (authors' code,
    github NVlabs/DeepInversion, cifar10).

    Args:
        shift (int): Most pixels to roll by in each direction, 0 or more.
            Defaults to 2 (authors' code).
        flip_prob (float): Probability that all images are mirrored, 0..1.
            Defaults to 0.
    """

    def __init__(self, shift: int = 2, flip_prob: float = 0.0) -> None:
        super().__init__()
        check_integer('shift of RandomRoll', shift, 0)
        check_probability('flip_prob of RandomRoll', flip_prob)
        self.shift = shift
        self.flip_prob = flip_prob

    def forward(self, images: Tensor) -> Tensor:
        """Augment a batch, (N, C, H, W), any dtype."""
        return roll_flip(images, *drawn(partial(self._draw, images.device)))

    def _draw(self, device: torch.device) -> Tuple[Tensor, Tensor]:
        offsets = torch.randint(2 * self.shift + 1, (2,), device=device)
        flip = torch.rand((), device=device) < self.flip_prob
        return offsets - self.shift, flip

    def extra_repr(self) -> str:
        return f'shift={self.shift}, flip_prob={self.flip_prob}'

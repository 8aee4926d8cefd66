# Copyright (c) csd_mmrazor developers. All rights reserved.
from functools import partial
from typing import Sequence, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer, check_probability
from ..utils import drawn


def crop_flip(
    images: Tensor, tops: Tensor, lefts: Tensor, flips: Tensor, padding: int
) -> Tensor:
    """Pad each image with zeros, crop it back to size, perhaps mirror it.

    One gather for the whole batch, differentiable in ``images``.

    Args:
        images (Tensor): (N, C, H, W), any dtype.
        tops (Tensor): First row of each crop in the padded image, (N, ),
            0..2 * padding.
        lefts (Tensor): First column of each crop, likewise.
        flips (Tensor): Whether a crop is mirrored left to right, (N, ), bool.
        padding (int): Zeros added on every side, in pixels.

    Returns:
        Tensor: (N, C, H, W).
    """
    num, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    columns = torch.arange(width, device=images.device).expand(num, width)
    columns = torch.where(flips[:, None], width - 1 - columns, columns)
    columns = columns + lefts[:, None]  # (N, W)
    rows = torch.arange(height, device=images.device) + tops[:, None]
    index = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]
    index = index.view(num, 1, -1).expand(-1, channels, -1)  # (N, C, H * W)
    return padded.flatten(2).gather(2, index).view_as(images)


def check_padding(name: str, padding: int, image_shape: Sequence[int]) -> None:
    """Check that each crop has some of its image.

    Args:
        name (str): Whose padding it is, for the error.
        padding (int): Zeros added on every side, in pixels.
        image_shape (sequence[int]): (C, H, W).

    Raises:
        ValueError: If a crop could have nothing of it.
    """
    height, width = image_shape[1:]
    if padding >= min(height, width):
        raise ValueError(
            f'{name} has padding={padding}, but images are {height}x{width}, '
            'so that crops could have nothing of them: give fewer pixels.'
        )


@MODELS.register_module()
class RandomCropFlip(nn.Module):
    """Random crop and horizontal flip, drawn per image, done per batch.

    Between generator and networks (synthesis) it is differentiable; on the
    bank's batches it runs on uint8. CSD uses it for CIFAR and leaves it out
    for SVHN (authors' code, datafree/synthesis/csd.py and registry.py).

    Args:
        padding (int): Zeros added on every side before the crop, in pixels.
            0 turns cropping off. Defaults to 4.
        flip_prob (float): Probability of a flip, 0..1. 0 turns flipping off,
            which digits need. Defaults to 0.5.
    """

    def __init__(self, padding: int = 4, flip_prob: float = 0.5) -> None:
        super().__init__()
        check_integer('padding of RandomCropFlip', padding, 0)
        check_probability('flip_prob of RandomCropFlip', flip_prob)
        self.padding = padding
        self.flip_prob = flip_prob

    def forward(self, images: Tensor) -> Tensor:
        """Augment a batch, (N, C, H, W), any dtype."""
        draw = partial(self._draw, len(images), images.device)
        return crop_flip(images, *drawn(draw), self.padding)

    def draws(self, num: int) -> Tensor:
        """Draw views that :meth:`replay` makes of images, now or later.

        Args:
            num (int): How many.

        Returns:
            Tensor: Top, left and flip of each, (num, 3), uint8, on the CPU.
        """
        return torch.stack(self._draw(num, torch.device('cpu')), 1).byte()

    def replay(self, images: Tensor, draws: Tensor) -> Tensor:
        """Make drawn views of a batch.

        Args:
            images (Tensor): (N, C, H, W), any dtype.
            draws (Tensor): One for each image, (N, 3), uint8.

        Returns:
            Tensor: (N, C, H, W).
        """
        tops, lefts, flips = draws.long().unbind(1)
        return crop_flip(images, tops, lefts, flips.bool(), self.padding)

    def _draw(
        self, num: int, device: torch.device
    ) -> Tuple[Tensor, Tensor, Tensor]:
        offsets = torch.randint(2 * self.padding + 1, (2, num), device=device)
        flips = torch.rand(num, device=device) < self.flip_prob
        return offsets[0], offsets[1], flips

    def extra_repr(self) -> str:
        return f'padding={self.padding}, flip_prob={self.flip_prob}'

# Copyright (c) csd_mmrazor developers. All rights reserved.
import math
from functools import partial
from typing import Sequence, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_probability
from ..utils import drawn


def resized_crop(
    images: Tensor, centers: Tensor, sizes: Tensor, flips: Tensor
) -> Tensor:
    """Cut a box out of each image and scale it to the image's size.

    Bilinear, differentiable in ``images``.

    Args:
        images (Tensor): (N, C, H, W), float.
        centers (Tensor): Of the boxes, (N, 2), x and y, -1..1 from edge to
            edge.
        sizes (Tensor): Of the boxes, (N, 2), as shares of width and height.
        flips (Tensor): Whether a box is mirrored left to right, (N, ), bool.

    Returns:
        Tensor: (N, C, H, W).
    """
    signs = torch.where(flips, -1.0, 1.0).to(sizes.dtype)
    theta = sizes.new_zeros(len(images), 2, 3)
    theta[:, 0, 0] = sizes[:, 0] * signs
    theta[:, 1, 1] = sizes[:, 1]
    theta[:, :, 2] = centers
    grid = F.affine_grid(theta, images.shape, align_corners=False)
    return F.grid_sample(
        images,
        grid.to(images.dtype),
        padding_mode='border',
        align_corners=False,
    )


@MODELS.register_module()
class RandomResizedCropFlip(nn.Module):
    """A part of each image at full size, perhaps mirrored: CMI's local view.

    Of a square image, a box that would be wider or higher than the image is
    cut off there, and so has less than its share of the area: by the default
    ``ratio``, up to 13 % less of boxes above 0.75. In others, the ratio gives
    way.

    Args:
        scale (sequence[float]): Least and greatest share of the area, above 0
            and at most 1. Defaults to (0.25, 1) (CMI, authors' code).
        ratio (sequence[float]): Least and greatest ratio of width to height.
            Defaults to (3 / 4, 4 / 3), as in torchvision.
        flip_prob (float): Probability of a flip, 0..1. Defaults to 0.5.
    """

    def __init__(
        self,
        scale: Sequence[float] = (0.25, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(
                'scale of RandomResizedCropFlip should be two shares above 0, '
                f'the least first, but got {scale!r}.'
            )
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(
                'ratio of RandomResizedCropFlip should be two numbers above '
                f'0, the least first, but got {ratio!r}.'
            )
        check_probability('flip_prob of RandomResizedCropFlip', flip_prob)
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self.flip_prob = flip_prob

    def forward(self, images: Tensor) -> Tensor:
        """Augment a batch, (N, C, H, W); uint8 becomes float in [0, 1]."""
        if images.dtype == torch.uint8:
            images = images / 255.0
        height, width = images.shape[-2:]
        draw = partial(self._draw, len(images), height / width, images.device)
        return resized_crop(images, *drawn(draw))

    def _draw(
        self, num: int, shape: float, device: torch.device
    ) -> Tuple[Tensor, Tensor, Tensor]:
        area, log_ratio = torch.rand(2, num, device=device)
        area = self.scale[0] + area * (self.scale[1] - self.scale[0])
        low, high = map(math.log, self.ratio)
        # Of shares of width and height, not of pixels.
        ratio = torch.exp(low + log_ratio * (high - low))
        if shape != 1:  # as wide or high as the image at most
            ratio = torch.minimum(ratio * shape, 1 / area).maximum(area)
        sizes = (
            torch.stack([area * ratio, area / ratio], 1).sqrt().clamp(max=1)
        )
        # Anywhere, as long as the box is within the image.
        centers = (2 * torch.rand(num, 2, device=device) - 1) * (1 - sizes)
        flips = torch.rand(num, device=device) < self.flip_prob
        return centers, sizes, flips

    def extra_repr(self) -> str:
        return (
            f'scale={self.scale}, ratio={self.ratio}, '
            f'flip_prob={self.flip_prob}'
        )

# Copyright (c) csd_mmrazor developers. All rights reserved.
import numpy as np
import torch
from torch import Tensor
from torchvision.utils import make_grid

# Sides of images and of the grid that a person can still look at, in pixels.
_MIN_TILE = 32
_COLUMNS = 10


def image_grid(images: Tensor, most: int = 100) -> np.ndarray:
    """A picture of some images of a batch.

    Args:
        images (Tensor): (N, C, H, W), uint8; 1 or 3 channels are drawn, of
            any other number the first one.
        most (int): How many to draw, evenly spread. Defaults to 100.

    Returns:
        ndarray: (height, width, 3), uint8, RGB.
    """
    chosen = torch.linspace(0, len(images) - 1, min(most, len(images)))
    images = images[chosen.round().long().to(images.device)].cpu()
    if images.shape[1] not in (1, 3):
        images = images[:, :1]
    scale = -(-_MIN_TILE // images.shape[-1])
    images = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    grid = make_grid(images, nrow=_COLUMNS, padding=2, pad_value=255)
    return grid.permute(1, 2, 0).numpy()

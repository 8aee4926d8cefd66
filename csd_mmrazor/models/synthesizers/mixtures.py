# Copyright (c) csd_mmrazor developers. All rights reserved.
"""More images from those of a round, for a pass of the teacher each.

CutMix (Yun et al., ICCV 2019) pastes a box of one image into another. Its
labels are mixed by area there; here the teacher says what it sees, as it does
of all images, which students learn more from (Beyer et al., CVPR 2022).
"""

from typing import Tuple

import torch
from torch import Tensor


def cutmix(
    images: Tensor,
    others: Tensor,
    centres: Tensor,
    shares: Tensor,
) -> Tensor:
    """Paste a box of one image at the same place of another.

    Args:
        images (Tensor): (N, C, H, W), any dtype.
        others (Tensor): Where the boxes are from, likewise.
        centres (Tensor): Row and column of the centre of each box, as a share
            of height and width, (N, 2), 0..1. What of a box lies outside is
            cut off.
        shares (Tensor): Height and width of each box, as a share of the
            image's, (N, ), 0..1.

    Returns:
        Tensor: (N, C, H, W).
    """
    inside = []
    for axis, size in enumerate(images.shape[2:]):
        # Centres of pixels.
        places = (torch.arange(size, device=images.device) + 0.5) / size
        distance = (places - centres[:, axis, None]).abs()
        inside.append(distance < shares[:, None] / 2)
    rows, columns = inside
    is_pasted = rows[:, None, :, None] & columns[:, None, None, :]
    return torch.where(is_pasted, others, images)


def mix_steps(images: Tensor, group: int, number: int) -> Tensor:
    """CutMix images of those that the steps of a round have made.

    Each is mixed with the image of the same place in another step, so that
    what is held out of training by place stays out of all mixtures.

    Args:
        images (Tensor): Of all steps, one after the other, (N, C, H, W).
        group (int): Images of a step, of which N is a multiple.
        number (int): Mixtures of each image.

    Returns:
        Tensor: (number * N, C, H, W). With one step alone, there is nothing
        to mix: copies.
    """
    total, steps = len(images), len(images) // group
    mixed = []
    for _ in range(number):
        shifts, centres, shares = _draw(total, steps, images.device)
        rows = torch.arange(total, device=images.device)
        others = images[(rows + shifts * group) % total]
        mixed.append(cutmix(images, others, centres, shares))
    return torch.cat(mixed)


def _draw(
    total: int, steps: int, device: torch.device
) -> Tuple[Tensor, Tensor, Tensor]:
    """How many steps away the other image is, and boxes.

    The share of the area that is pasted is uniform (authors' code of CutMix,
    beta=1), before a part of the box is cut off.
    """
    shifts = torch.zeros(total, dtype=torch.int64, device=device)
    if steps > 1:
        shifts = torch.randint(1, steps, (total,), device=device)
    centres = torch.rand(total, 2, device=device)
    shares = torch.rand(total, device=device).sqrt()
    return shifts, centres, shares

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Transforms whose recognition is the auxiliary task.

A task turns a batch of N images into N * T views, the T views of an image one
after the other. Class ``y`` and view ``t`` make the joint label ``y * T + t``
("self-supervised augmented label", Lee et al., ICML 2020; CSD section 3.2).
"""

from itertools import permutations

import torch
from torch import Tensor


def rotate(images: Tensor) -> Tensor:
    """The 4 rotations by 0, 90, 180 and 270 degrees, counter-clockwise.

    Args:
        images (Tensor): (N, C, S, S).

    Returns:
        Tensor: (N, 4, C, S, S).
    """
    if images.shape[-1] != images.shape[-2]:
        raise ValueError(
            'Rotation by 90 degrees needs square images, but got '
            f'{images.shape[-2]}x{images.shape[-1]} pixels: set '
            f'{_fitting(images)}.'
        )
    return torch.stack([images.rot90(k, (2, 3)) for k in range(4)], 1)


def _fitting(images: Tensor) -> str:
    """The tasks that images of a shape can have, for messages."""
    _, channels, height, width = images.shape
    names = ['FlipTask', 'HalfShiftTask']
    if height == width:
        names.insert(0, 'RotationTask')
    if channels == 3:
        names.append('ChannelPermutationTask')
    return (
        f'model.aux_head.task.type to one of {", ".join(names)}, which take '
        f'images of {channels}x{height}x{width}'
    )


def permute_channels(images: Tensor) -> Tensor:
    """The 6 orders of three colour channels, the given one first.

    Args:
        images (Tensor): (N, 3, H, W).

    Returns:
        Tensor: (N, 6, 3, H, W).
    """
    if images.shape[1] != 3:
        raise ValueError(
            'Permuting colours needs images of 3 channels, but '
            f'got {images.shape[1]}: set {_fitting(images)}.'
        )
    orders = torch.tensor(
        list(permutations(range(3))), device=images.device
    )  # (6, 3)
    return images[:, orders]


def flip(images: Tensor) -> Tensor:
    """As given, mirrored left to right, top to bottom, and both.

    Args:
        images (Tensor): (N, C, H, W).

    Returns:
        Tensor: (N, 4, C, H, W).
    """
    axes = ((), (3,), (2,), (2, 3))
    return torch.stack([images.flip(axis) for axis in axes], 1)


def shift_halves(images: Tensor) -> Tensor:
    """As given, left and right half exchanged, top and bottom, and both.

    Args:
        images (Tensor): (N, C, H, W).

    Returns:
        Tensor: (N, 4, C, H, W).
    """
    shifts = [
        (y * (images.shape[2] // 2), x * (images.shape[3] // 2))
        for y, x in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    return torch.stack([images.roll(shift, (2, 3)) for shift in shifts], 1)


def joint_labels(labels: Tensor, num_views: int) -> Tensor:
    """Labels of the views: class times ``num_views`` plus the view.

    Args:
        labels (Tensor): Classes of the images, (N, ), int64.
        num_views (int): Views of each image.

    Returns:
        Tensor: (N * num_views, ).
    """
    views = torch.arange(num_views, device=labels.device)
    return (labels[:, None] * num_views + views).flatten()

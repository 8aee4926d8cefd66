# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Transforms whose recognition is the auxiliary task.

A task turns a batch of N images into N * T views, the T views of an image one
after the other. Class ``y`` and view ``t`` make the joint label ``y * T + t``
("self-supervised augmented label", Lee et al., ICML 2020; CSD section 3.2).
"""

from functools import lru_cache
from itertools import permutations
from typing import Any, Optional

import torch
from torch import Tensor

from ...utils import check_integer


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
            f'{images.shape[-2]}x{images.shape[-1]} pixels: '
            f'{_fitting(images)}.'
        )
    return torch.stack([images.rot90(k, (2, 3)) for k in range(4)], 1)


def _fitting(images: Tensor) -> str:
    """The tasks that images of a shape can have, for messages."""
    _, channels, height, width = images.shape
    names = []
    if min(height, width) > 1:  # or else views of one row are alike
        names = ['RotationTask'] if height == width else []
        names += ['FlipTask', 'HalfShiftTask']
    if channels == 3:
        names.append('ChannelPermutationTask')
    shape = f'{channels}x{height}x{width}'
    if not names:
        return f'no task of this package can tell views of {shape} apart'
    which = f'{names[0]}, which takes'
    if len(names) > 1:
        which = f'one of {", ".join(names)}, which take'
    return f'set model.aux_head.task.type to {which} images of {shape}'


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
            f'got {images.shape[1]}: {_fitting(images)}.'
        )
    return images[:, _orders(images.device)]


@lru_cache(maxsize=8)
def _orders(device: torch.device) -> Tensor:
    """The orders of three channels, (6, 3), copied to a device once."""
    with torch.inference_mode(False):
        return torch.tensor([*permutations(range(3))], device=device)


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


def joint_labels(
    labels: Tensor, num_views: int, drawn: Optional[Tensor] = None
) -> Tensor:
    """Labels of the views: class times ``num_views`` plus the view.

    Args:
        labels (Tensor): Classes of the images, (N, ), int64.
        num_views (int): Views that there are of an image, T.
        drawn (Tensor, optional): As of :func:`draw_views`. Defaults to None,
            all views.

    Returns:
        Tensor: (N * T, ), or (N * V, ) of those that were drawn.
    """
    if drawn is None:
        drawn = torch.arange(num_views, device=labels.device)
    return (labels[:, None] * num_views + drawn).flatten()


def draw_views(
    number: int, num_views: int, views_per_image: int, device: torch.device
) -> Tensor:
    """Draw some views of each image, all sets of them alike.

    The mean of something over them is an unbiased estimate of its mean over
    all views.

    Args:
        number (int): Images N.
        num_views (int): Views that there are of an image, T.
        views_per_image (int): How many of them to draw, V; 1..T.
        device (torch.device): Where to.

    Returns:
        Tensor: Numbers of the views, no two alike for an image, (N, V).
    """
    ranks = torch.rand(number, num_views, device=device)
    return ranks.argsort(1)[:, :views_per_image]


def check_views_per_image(name: str, value: Any, num_views: int) -> None:
    """Check how many views of each image are to be drawn.

    Args:
        name (str): What it is called where people set it.
        value (int, optional): What was set; None for all.
        num_views (int): Views that there are, T.

    Raises:
        ValueError: If there are not so many.
    """
    if value is None:
        return
    check_integer(name, value)
    if value > num_views:
        raise ValueError(
            f'{name} should be at most {num_views}, the views that the '
            f'pretext task has, but got {value}: None takes all.'
        )


def chosen_views(views: Tensor, drawn: Tensor) -> Tensor:
    """Those of all views that were drawn.

    Args:
        views (Tensor): (N * T, ...), the views of an image one after the
            other.
        drawn (Tensor): As of :func:`draw_views`, (N, V).

    Returns:
        Tensor: (N * V, ...), likewise.
    """
    number = len(drawn)
    rows = torch.arange(number, device=drawn.device)[:, None]
    index = rows * (len(views) // number) + drawn
    return views[index.flatten()]

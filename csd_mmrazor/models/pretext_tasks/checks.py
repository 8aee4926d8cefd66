# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Sequence

import torch

# Images that are looked at.
_IMAGES = 3


def check_views(task: Any, image_shape: Sequence[int]) -> None:
    """Check that a pretext task makes the views that it says, in order.

    Labels of views go by their places: those of an image follow each other.

    Args:
        task (object): With ``num_views`` and ``views()``.
        image_shape (sequence[int]): (C, H, W).

    Raises:
        ValueError: If it makes another number of views, or first one view of
            all images and then the next; or of ``views()`` itself, if it
            cannot transform such images.
    """
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(_IMAGES, *image_shape, generator=draw)
    name, number = type(task).__name__, task.num_views
    with torch.random.fork_rng([]):
        views = task.views(images)
        each = [task.views(image[None]) for image in images]
    if len(views) != _IMAGES * number:
        raise ValueError(
            f'{name}.views() makes {len(views)} views of {_IMAGES} images, '
            f'but its num_views={number}.'
        )
    if any(len(some) != number for some in each):
        return  # as only a batch has them
    one_by_one = torch.cat(each)
    by_view = torch.stack(each, 1).flatten(0, 1)
    if (
        views.shape == by_view.shape
        and not torch.allclose(views, one_by_one)
        and torch.allclose(views, by_view)
    ):
        raise ValueError(
            f'{name}.views() returns one view of all images, and then the '
            'next, but labels are for those of an image one after the other: '
            'write torch.stack([...], 1).flatten(0, 1) in place of '
            'torch.cat([...]).'
        )

# Copyright (c) csd_mmrazor developers. All rights reserved.
from itertools import combinations
from typing import Any, Sequence

import torch

from ...utils import check_integer

# Images that are looked at.
_IMAGES = 3


def check_views(task: Any, image_shape: Sequence[int]) -> None:
    """Check that a pretext task makes the views that it says, in order.

    Labels of views go by their places: those of an image follow each other.

    Args:
        task (object): With ``num_views`` and ``views()``.
        image_shape (sequence[int]): (C, H, W).

    Raises:
        TypeError: If ``num_views`` is no whole number.
        ValueError: If it makes another number of views, or first one view of
            all images and then the next, changes the images, cuts the
            gradient off, or has two views that are alike; or of ``views()``
            itself, if it cannot transform such images.
    """
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(_IMAGES, *image_shape, generator=draw)
    name, number = type(task).__name__, task.num_views
    check_integer(f'num_views of {name}', number)
    with torch.random.fork_rng([]):
        given = images.clone()
        views = task.views(given)
        if not torch.equal(given, images):
            raise ValueError(
                f'{name}.views() changes the images that it gets: let it '
                'change a copy, images.clone().'
            )
        each = [task.views(image[None]) for image in images]
        with torch.enable_grad():
            passes = task.views(given.requires_grad_()).requires_grad
    if len(views) != _IMAGES * number:
        raise ValueError(
            f'{name}.views() makes {len(views)} views of {_IMAGES} images, '
            f'but its num_views={number}.'
        )
    if not passes:
        raise ValueError(
            f'No gradient passes through {name}.views(): look for no_grad(), '
            'detach(), .data and numpy() in it.'
        )
    for one, other in combinations(range(min(map(len, each))), 2):
        if all(torch.equal(some[one], some[other]) for some in each):
            shape = 'x'.join(map(str, image_shape))
            raise ValueError(
                f'Views {one} and {other} of {name}, counted from 0, are '
                f'alike for images of {shape}, so that they cannot be told '
                'apart: leave out one of them, or take another task '
                '(model.aux_head.task.type).'
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

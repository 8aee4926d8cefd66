# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The shape of a generator's images, given or the algorithm's."""

from typing import Optional, Sequence, Tuple, Union

ImgSize = Union[None, int, Sequence[int]]
# What is made until the algorithm's shape is known.
DEFAULT_SHAPE = (3, 32, 32)


def image_sizes(img_size: ImgSize, name: str) -> Tuple[int, int]:
    """Height and width that an argument means.

    Args:
        img_size (int | sequence[int], optional): Both, or (height, width).
        name (str): Of the generator, for messages.

    Raises:
        ValueError: If it is a sequence of another length.
    """
    if img_size is None:
        return DEFAULT_SHAPE[1:]
    if not isinstance(img_size, (list, tuple)):
        return img_size, img_size
    if len(img_size) != 2:
        raise ValueError(
            f'img_size of {name} should be one number or (height, width), '
            f'but got {img_size!r}.'
        )
    return tuple(img_size)


def fitted_shape(
    given: Tuple[Optional[int], ImgSize], image_shape: Sequence[int]
) -> Tuple[int, int, int]:
    """An algorithm's shape, but for what a generator was given.

    Args:
        given (tuple): ``channels`` and ``img_size``; None leaves them open.
        image_shape (sequence[int]): (C, H, W) of the algorithm.
    """
    channels, img_size = given
    return (
        image_shape[0] if channels is None else channels,
        *(image_shape[1:] if img_size is None else image_sizes(img_size, '')),
    )

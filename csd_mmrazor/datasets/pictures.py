# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path
from typing import Tuple, Union

import numpy as np
from PIL import ExifTags, Image, ImageOps

# Others run programs of their own, such as for PostScript.
_FORMATS = ('BMP', 'JPEG', 'PNG', 'WEBP')
_DEEP_GREY = ('I;16', 'I;16B', 'I;16L', 'I;16N')
_ALPHA = ('RGBA', 'RGBa', 'LA', 'La', 'PA')


def picture_size(path: Union[str, Path]) -> Tuple[int, int]:
    """Height and width of an image file as a person sees it, by its head.

    Args:
        path (str | Path): As of :func:`read_picture`.

    Raises:
        OSError: If it is no picture.
    """
    with Image.open(path, formats=_FORMATS) as image:
        width, height = image.size
        # From 5 on, it lies on its side.
        is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
        return (width, height) if is_turned else (height, width)


def read_picture(path: Union[str, Path], grey: bool = False) -> np.ndarray:
    """An image file as a person sees it.

    It is turned upright as its EXIF data say, 16-bit grey keeps its
    brightness, and opaque alpha is left out.

    Args:
        path (str | Path): A PNG, JPEG, BMP or WebP file.
        grey (bool): Whether to return grey. Defaults to False.

    Returns:
        ndarray: (H, W, 3), RGB, or (H, W), uint8.

    Raises:
        ValueError: If it is damaged, animated, partly transparent, or its
            colours have to be converted by a profile; names the file.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.verify()  # checksums, which reading does not look at
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            seen = _as_seen(image)
            return np.asarray(seen.convert('L' if grey else 'RGB'))
    except Exception as error:  # whatever the bytes make Pillow raise
        raise ValueError(
            f'{path} cannot be read as a picture ({error}): put one there '
            'that is whole, of one frame, opaque, and RGB or grey.'
        ) from error


def is_deep_grey(image: Image.Image) -> bool:
    """Whether a picture is grey of 16 bits, which Pillow would clip to 8."""
    # It has such PNG files in either mode, by its version.
    return image.mode in _DEEP_GREY or (
        image.mode == 'I' and image.format == 'PNG'
    )


def of_8_bits(image: Image.Image) -> Image.Image:
    """A picture of 16-bit grey in 8 bits, as bright as it was."""
    grey = np.asarray(image).astype(np.int64)
    grey = (grey * 255 + 65535 // 2) // 65535
    return Image.fromarray(grey.astype(np.uint8))


def without_alpha(image: Image.Image) -> Image.Image:
    """A picture without its alpha, if it has one, which has to be opaque.

    Raises:
        ValueError: If a part is transparent: what is behind it is not known.
    """
    if image.mode not in _ALPHA and 'transparency' not in image.info:
        return image
    image = image.convert('RGBA')
    if image.getchannel('A').getextrema()[0] == 255:
        return image.convert('RGB')
    raise ValueError('a part of it is transparent')


def _as_seen(image: Image.Image) -> Image.Image:
    # A photo may have a preview beside it, as a second frame.
    if getattr(image, 'n_frames', 1) > 1 and image.format != 'MPO':
        raise ValueError('it is animated')
    has_alpha = image.mode in _ALPHA or 'transparency' in image.info
    is_deep = is_deep_grey(image)
    image = ImageOps.exif_transpose(image)
    if is_deep and not has_alpha:
        return of_8_bits(image)
    if has_alpha and not is_deep:
        return without_alpha(image)
    if image.mode not in ('1', 'L', 'P', 'RGB'):
        raise ValueError(f'its colours are {image.mode}')
    return image

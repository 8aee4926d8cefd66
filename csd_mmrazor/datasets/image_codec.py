# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Images of a shard as files of a common format, by Pillow."""

import io
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np
from PIL import Image

from ..utils.threads import in_threads

# Whether they change images, and how Pillow is to write them. PNG's lowest
# level of compression is four times as fast as its default, and 10 % larger.
_FORMATS: Dict[str, Any] = dict(
    png=(False, dict(compress_level=1)),
    jpeg=(True, dict(subsampling=0)),
    webp=(True, {}),
)
FORMATS = ('raw', *_FORMATS)


class ImageCodec(NamedTuple):
    """How images are written: as they are, or in a common format.

    Args:
        name (str): One of ``FORMATS``.
        quality (int, optional): Of 'jpeg' and 'webp', 1..100, which change
            images. Defaults to None, 95.
    """

    name: str = 'raw'
    quality: Optional[int] = None

    @property
    def is_lossy(self) -> bool:
        """Whether images are others afterwards."""
        return self.name != 'raw' and _FORMATS[self.name][0]

    def check(self) -> None:
        """Check the arguments.

        Raises:
            ValueError: If they make no sense.
        """
        if self.name not in FORMATS:
            raise ValueError(
                f'image_format of ImageBank should be one of {FORMATS}, but '
                f'got {self.name!r}.'
            )
        if self.quality is None:
            return
        if not self.is_lossy:
            raise ValueError(
                f'quality={self.quality!r} of ImageBank does nothing to '
                f'image_format={self.name!r}, which keeps images as they '
                'are: leave it out, or choose "jpeg" or "webp".'
            )
        if type(self.quality) is not int or not 1 <= self.quality <= 100:
            raise ValueError(
                'quality of ImageBank should be an integer in 1..100, but '
                f'got {self.quality!r}.'
            )

    def check_channels(self, channels: int) -> None:
        """Check that there are images of that many channels.

        Raises:
            ValueError: If not.
        """
        if self.name != 'raw' and channels not in (1, 3):
            raise ValueError(
                f'image_format={self.name!r} of ImageBank is for images with '
                f'1 or 3 channels, but these have {channels}: set it to '
                '"raw".'
            )

    def encode(self, images: np.ndarray) -> List[bytes]:
        """Files of images.

        Args:
            images (ndarray): (N, C, H, W), uint8, with C of 1 or 3.
        """
        self.check_channels(images.shape[1])
        return [*in_threads(self._encode, images)]

    def _encode(self, image: np.ndarray) -> bytes:
        is_lossy, options = _FORMATS[self.name]
        if is_lossy:
            options = dict(options, quality=self.quality or 95)
        plain = np.ascontiguousarray(image.transpose(1, 2, 0))
        if len(image) == 1:
            plain = plain[..., 0]
        buffer = io.BytesIO()
        Image.fromarray(plain).save(buffer, self.name, **options)
        return buffer.getvalue()

    def as_kept(self, images: np.ndarray) -> np.ndarray:
        """Images as they are read after they were written."""
        if not self.is_lossy:
            return images
        kept = np.empty_like(images)
        for image, content in zip(kept, self.encode(images)):
            decode(self.name, content, image)
        return kept


def decode(name: str, content: bytes, out: np.ndarray) -> None:
    """Read an image.

    Args:
        name (str): Its format.
        content (bytes): Of the file.
        out (ndarray): (C, H, W), uint8, where it goes.

    Raises:
        ValueError: If it is something else.
    """
    channels, height, width = out.shape
    try:
        image = Image.open(io.BytesIO(content), formats=[name])
        if image.size != (width, height):  # before anything is decompressed
            raise ValueError(f'{image.size[0]}x{image.size[1]} pixels')
        plain = np.asarray(image.convert('L' if channels == 1 else 'RGB'))
    except Exception as error:  # whatever the bytes make Pillow raise
        raise ValueError(
            f'an image is no {name} of {width}x{height}: {error}'
        ) from error
    out[:] = plain.reshape(height, width, channels).transpose(2, 0, 1)

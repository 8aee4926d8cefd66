# Copyright (c) csd_mmrazor developers. All rights reserved.
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from csd_mmrazor.datasets.folder_images import FolderImages
from csd_mmrazor.datasets.pictures import picture_size, read_picture

HEIGHT, WIDTH = 6, 9
# Smooth, so that JPEG hardly changes it; each side is different.
RED, GREEN = np.meshgrid(np.arange(WIDTH) * 25, np.arange(HEIGHT) * 40)
COLOURS = np.stack([RED, GREEN, 255 - RED], -1).astype(np.uint8)
GREY = (RED + GREEN).clip(0, 255).astype(np.uint8)
AS_RGB = np.repeat(GREY[..., None], 3, -1)
CLEAR = np.full((HEIGHT, WIDTH), 255, np.uint8)


def with_alpha(array, alpha=CLEAR):
    return Image.fromarray(np.dstack([array, alpha]))


def palette():
    return Image.fromarray(GREY).quantize(8, dither=Image.Dither.NONE)


def png(bit_depth, colour_type, rows, *chunks):
    """A PNG file of bits that Pillow does not write."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return (
            struct.pack('>I', len(data))
            + kind
            + data
            + struct.pack('>I', checksum)
        )

    header = struct.pack(
        '>IIBBBBB', WIDTH, HEIGHT, bit_depth, colour_type, 0, 0, 0
    )
    pixels = b''.join(b'\0' + row for row in rows)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + b''.join(chunk(*each) for each in chunks)
        + chunk(b'IDAT', zlib.compress(pixels))
        + chunk(b'IEND', b'')
    )


def deep(array):
    return [(row.astype('>u2') * 257).tobytes() for row in array]


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def turned(orientation):
    """What was stored for a picture to be seen as ``COLOURS``."""
    return {
        1: COLOURS,
        2: COLOURS[:, ::-1],
        3: COLOURS[::-1, ::-1],
        4: COLOURS[::-1],
        5: COLOURS.transpose(1, 0, 2),
        6: np.rot90(COLOURS),
        7: COLOURS[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(COLOURS, -1),
    }[orientation]


def save(path, content, **kwargs):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content.save(path, **kwargs)
    return path


@pytest.mark.parametrize(
    'name, content, kwargs, expected, tolerance',
    [
        ('a.png', Image.fromarray(COLOURS), {}, COLOURS, 0),
        ('a.bmp', Image.fromarray(COLOURS), {}, COLOURS, 0),
        ('a.webp', Image.fromarray(COLOURS), dict(lossless=True), COLOURS, 0),
        ('a.jpg', Image.fromarray(COLOURS), dict(quality=100), COLOURS, 40),
        ('a.jpg', Image.fromarray(GREY), dict(quality=100), AS_RGB, 4),
        ('a.png', Image.fromarray(GREY), {}, AS_RGB, 0),
        ('a.bmp', Image.fromarray(GREY), {}, AS_RGB, 0),
        ('grey16.png', png(16, 0, deep(GREY)), {}, AS_RGB, 0),
        (
            'rgb16.png',
            png(16, 2, deep(COLOURS.reshape(HEIGHT, -1))),
            {},
            COLOURS,
            0,
        ),
        ('grey1.png', Image.fromarray(GREY > 99), {}, 255 * (AS_RGB > 99), 0),
        ('palette.png', palette(), {}, AS_RGB, 40),
        ('opaque.png', with_alpha(COLOURS), {}, COLOURS, 0),
        ('opaque_grey.png', with_alpha(GREY), {}, AS_RGB, 0),
        ('opaque.webp', with_alpha(COLOURS), dict(lossless=True), COLOURS, 0),
        # By what is in it, not by its name.
        ('b.jpg', Image.fromarray(COLOURS), dict(format='PNG'), COLOURS, 0),
        *(
            (
                f'turned{number}.png',
                Image.fromarray(np.ascontiguousarray(turned(number))),
                dict(exif=exif(number)),
                COLOURS,
                0,
            )
            for number in range(1, 9)
        ),
        (
            'turned.jpg',
            Image.fromarray(np.ascontiguousarray(turned(6))),
            dict(exif=exif(6), quality=100),
            COLOURS,
            40,
        ),
        (
            'turned16.png',
            Image.fromarray(
                np.ascontiguousarray(np.rot90(GREY)).astype(np.uint16) * 257
            ),
            dict(exif=exif(6)),
            AS_RGB,
            0,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_pictures_are_as_they_are_seen(
    tmp_path, name, content, kwargs, expected, tolerance
):
    path = save(tmp_path / name, content, **kwargs)
    found = read_picture(path)
    assert found.dtype == np.uint8 and found.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(found.astype(int) - expected).max() <= tolerance
    grey = read_picture(path, grey=True)
    assert grey.dtype == np.uint8 and grey.shape == (HEIGHT, WIDTH)
    luma = np.asarray(Image.fromarray(found).convert('L'))
    assert np.abs(grey.astype(int) - luma).max() <= 1


def frames(**kwargs):
    return dict(
        save_all=True, append_images=[Image.fromarray(AS_RGB)], **kwargs
    )


def saved_bytes(image, **kwargs):
    file = io.BytesIO()
    image.save(file, **kwargs)
    return file.getvalue()


def flipped(content, place):
    content = bytearray(content)
    content[place] ^= 1
    return bytes(content)


HALF = np.where(GREY > 99, 255, 0).astype(np.uint8)
PNG = saved_bytes(Image.fromarray(COLOURS), format='PNG')
JPG = saved_bytes(Image.fromarray(COLOURS), format='JPEG')
WEBP = saved_bytes(Image.fromarray(COLOURS), format='WEBP')
BMP = saved_bytes(Image.fromarray(COLOURS), format='BMP')


@pytest.mark.parametrize(
    'name, content, kwargs, message',
    [
        ('cmyk.jpg', Image.new('CMYK', (9, 6), (0, 9, 9, 9)), {}, 'CMYK'),
        ('clear.png', with_alpha(COLOURS, HALF), {}, 'transparent'),
        ('clear_grey.png', with_alpha(GREY, HALF), {}, 'transparent'),
        ('almost.png', with_alpha(COLOURS, CLEAR - 1), {}, 'transparent'),
        ('clear.webp', with_alpha(COLOURS, HALF), {}, 'transparent'),
        ('palette.png', palette(), dict(transparency=0), 'transparent'),
        (
            'key.png',
            Image.fromarray(GREY),
            dict(transparency=int(GREY[0, 0])),
            'transparent',
        ),
        (
            'key16.png',
            png(16, 0, deep(GREY), (b'tRNS', b'\0\0')),
            {},
            'colours are I|mode',
        ),
        ('moving.webp', Image.fromarray(COLOURS), frames(), 'animated'),
        ('moving.png', Image.fromarray(COLOURS), frames(), 'animated'),
        ('real.gif.png', Image.fromarray(GREY), dict(format='GIF'), ''),
        ('deep.tif.png', Image.fromarray(GREY), dict(format='TIFF'), ''),
        ('script.png', b'%!PS-Adobe-3.0 EPSF-3.0\n', {}, 'identify'),
        ('text.jpg', b'no picture', {}, 'identify'),
        ('empty.png', b'', {}, 'identify'),
        ('cut.png', PNG[: len(PNG) // 2], {}, ''),
        ('cut.jpg', JPG[: len(JPG) // 2], {}, ''),
        ('cut.webp', WEBP[: len(WEBP) // 2], {}, ''),
        ('cut.bmp', BMP[: len(BMP) // 2], {}, ''),
        *(
            (f'flipped{place}.png', flipped(PNG, place), {}, '')
            for place in range(20, len(PNG), 9)
        ),
        (
            'bomb.png',
            PNG[:16] + struct.pack('>II', 2**30, 2**30) + PNG[24:],
            {},
            '',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_what_is_refused_is_named(tmp_path, name, content, kwargs, message):
    path = save(tmp_path / name, content, **kwargs)
    with pytest.raises(
        ValueError, match=f'{path} cannot be read .*{message}.*whole'
    ):
        read_picture(path)


def test_no_file_and_no_rights_are_named(tmp_path):
    for path in (tmp_path / 'gone.png', tmp_path):
        with pytest.raises(ValueError, match=f'{path} cannot be read'):
            read_picture(path)


@pytest.mark.parametrize('orientation', [None, 1, 3, 6, 8])
@pytest.mark.parametrize('name', ['jpeg', 'png', 'webp'])
def test_sizes_by_heads_alone(tmp_path, name, orientation):
    path = tmp_path / f'a.{name}'
    more = {} if orientation is None else dict(exif=exif(orientation))
    Image.new('RGB', (7, 4)).save(path, **more)
    assert picture_size(path) == read_picture(path).shape[:2]
    path.write_bytes(b'nothing')
    with pytest.raises(OSError):
        picture_size(path)


def test_one_of_many_on_its_side(tmp_path):
    for number in range(300):
        size = (9, 6) if number == 217 else (6, 9)
        path = tmp_path / 'ab'[number % 2] / f'{number}.png'
        path.parent.mkdir(exist_ok=True)
        Image.new('L', size).save(path)
    about = FolderImages(str(tmp_path), (1, 9, 6)).about
    assert about.startswith(f'1 of 300 images of {tmp_path} (6x9, height by')


def test_all_damaged_files_are_named_at_once(tmp_path):
    for number in range(6):
        path = tmp_path / 'ab'[number % 2] / f'{number}.png'
        path.parent.mkdir(exist_ok=True)
        Image.new('L', (6, 9)).save(path)
    images = FolderImages(str(tmp_path), (1, 9, 6))
    (tmp_path / 'a/2.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'2.png cannot .* or grey\.$'):
        list(images)
    (tmp_path / 'b/5.png').write_bytes(b'no picture')
    images = FolderImages(str(tmp_path), (1, 9, 6))
    message = r'2.png cannot .* or grey\. 1 more cannot be read .*/b/5\.png\.$'
    with pytest.raises(ValueError, match=message):
        list(images)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import io

import numpy as np
import pytest
from PIL import Image

from csd_mmrazor.datasets import BankError, BankFolder
from csd_mmrazor.datasets.image_codec import ImageCodec, decode
from csd_mmrazor.datasets.shard_files import INDEX


def pictures(number, channels=3, height=224, width=224, seed=0):
    """Smooth ones with a little noise."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (number, channels, 8, 8), np.uint8)
    images = small.repeat(-(-height // 8), 2).repeat(-(-width // 8), 3)
    images = images[:, :, :height, :width].astype(int)
    images = images + rng.integers(-3, 4, images.shape)
    return images.clip(0, 255).astype(np.uint8)


def folder_of(path, images, codec):
    folder = BankFolder(path, images.shape[1:], 10, codec=codec)
    folder.append(images, np.arange(len(images)) % 10, 0, 0, write=True)
    return folder


@pytest.mark.parametrize('size', [(224, 224), (5, 7), (64, 32)])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('name', ['raw', 'png', 'jpeg', 'webp'])
def test_what_is_written_is_read(tmp_path, name, channels, size):
    images = pictures(4, channels, *size)
    codec = ImageCodec(name)
    folder = folder_of(tmp_path, images, codec)
    again = BankFolder(tmp_path)
    (shard,) = again.shards
    assert shard.format == name
    assert shard.name == '000000' + f'.{name}.npy'.replace('.raw', '')
    found, labels = again.read(shard)
    assert np.array_equal(labels, np.arange(4))
    assert np.array_equal(found, codec.as_kept(images))
    if codec.is_lossy and size == (224, 224):
        assert np.abs(found.astype(int) - images).mean() < 12
    if not codec.is_lossy:
        assert np.array_equal(found, images)
    assert folder.shards == again.shards


@pytest.mark.parametrize('name, most', [('png', 0.8), ('jpeg', 0.3)])
def test_takes_less_room(tmp_path, name, most):
    images = pictures(4)
    folder_of(tmp_path, images, ImageCodec(name))
    size = sum(path.stat().st_size for path in tmp_path.glob('*.npy'))
    assert size < most * images.nbytes


@pytest.mark.parametrize('name', ['jpeg', 'webp'])
def test_files_are_those_of_pillow_at_that_quality(name):
    image = pictures(1, 3, 16, 24)[0]
    sizes = []
    for quality in (20, 60, 95):
        (content,) = ImageCodec(name, quality).encode(image[None])
        buffer = io.BytesIO()
        options = dict(subsampling=0) if name == 'jpeg' else {}
        Image.fromarray(image.transpose(1, 2, 0).copy()).save(
            buffer, name, quality=quality, **options
        )
        assert content == buffer.getvalue()
        sizes.append(len(content))
    assert sizes == sorted(sizes)
    assert ImageCodec(name).encode(image[None]) == [content]


@pytest.mark.parametrize(
    'codec, message',
    [
        (ImageCodec('gif'), "image_format .*but got 'gif'"),
        (ImageCodec(None), 'image_format .*but got None'),
        (ImageCodec('png', 90), 'quality=90 .* does nothing'),
        (ImageCodec('raw', 0), 'quality=0 .* does nothing'),
        (ImageCodec('jpeg', 0), r'1\.\.100, but got 0'),
        (ImageCodec('jpeg', 101), 'but got 101'),
        (ImageCodec('webp', 9.5), r'but got 9\.5'),
        (ImageCodec('webp', True), 'but got True'),
    ],
)
def test_bad_arguments(codec, message):
    with pytest.raises(ValueError, match=message):
        codec.check()


@pytest.mark.parametrize('channels', [2, 4])
def test_channels_that_no_format_has(channels):
    with pytest.raises(ValueError, match=f'have {channels}: set it to "raw"'):
        ImageCodec('png').encode(np.zeros((1, channels, 4, 4), np.uint8))


def save(name, size=(4, 4), mode='RGB'):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, name)
    return buffer.getvalue()


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'x' * 100,
        save('png')[:40],
        save('gif'),
        save('jpeg'),
        save('png', (5, 4)),
        save('png', (4000, 4000)),
        save('tiff'),
    ],
    ids=range(8),
)
def test_what_is_no_image_of_the_kind(tmp_path, content):
    with pytest.raises(ValueError, match='no png of 4x4'):
        decode('png', content, np.zeros((3, 4, 4), np.uint8))


def index_of(labels, sizes, dtype=INDEX):
    records = np.zeros(len(labels), dtype)
    records['label'] = labels
    if 'size' in dtype.names:
        records['size'] = sizes
    buffer = io.BytesIO()
    np.save(buffer, records)
    return buffer.getvalue()


GOOD = save('png')
SIZE = len(GOOD)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'not an .npy file'),
        (index_of([1], [SIZE]) + GOOD, 'a header'),
        (index_of([1, 2], [SIZE, SIZE]) + GOOD, 'sizes of images'),
        (index_of([1, 2], [SIZE, SIZE]) + 3 * GOOD, 'sizes of images'),
        (index_of([1, 2], [2 * SIZE, 0]) + 2 * GOOD, 'sizes of images'),
        (index_of([1, 2], [3 * SIZE, -SIZE]) + 2 * GOOD, 'sizes of images'),
        (
            index_of([1, 2], [2**62, 2**62 + 2 * SIZE]) + 2 * GOOD,
            'sizes of images',
        ),
        (
            index_of([1, 2], [], np.dtype([('label', '<i8')])) + 2 * GOOD,
            'a header',
        ),
        (index_of([1, 10], [SIZE, SIZE]) + 2 * GOOD, r'labels 1\.\.10'),
        (index_of([-1, 1], [SIZE, SIZE]) + 2 * GOOD, r'labels -1\.\.1'),
        (
            index_of([1, 2], [SIZE - 9, SIZE + 9]) + 2 * GOOD,
            'no png of 4x4',
        ),
        (
            index_of([1, 2], [SIZE, len(save('gif'))]) + GOOD + save('gif'),
            'no png of 4x4',
        ),
    ],
    ids=range(12),
)
def test_crafted_shards_are_refused(tmp_path, content, message):
    """With right checksums, in memory as well as image by image."""
    import hashlib

    from csd_mmrazor.datasets import ImageBank

    folder = folder_of(tmp_path, pictures(2, 3, 4, 4), ImageCodec('png'))
    (shard,) = folder.shards
    (tmp_path / shard.name).write_bytes(content)
    folder.shards = [
        shard._replace(sha256=hashlib.sha256(content).hexdigest())
    ]
    folder.write_manifest(anew=True)
    with pytest.raises(BankError, match=f'{shard.name} .*{message}'):
        folder.read(folder.shards[0])
    for storage in ('host', 'disk'):
        with pytest.raises(BankError, match=f'{shard.name} .*{message}'):
            bank = ImageBank(str(tmp_path), storage=storage)
            bank.__getitems__([0, 1])


def test_a_bank_of_several_formats(tmp_path):
    """Each shard says its own, so a run may go on with another."""
    images = pictures(6, 3, 8, 8)
    for number, name in enumerate(('raw', 'png', 'raw')):
        folder = BankFolder(tmp_path, (3, 8, 8), 10, codec=ImageCodec(name))
        part = images[2 * number : 2 * number + 2]
        folder.append(part, np.array([1, 2]), number, 0, write=True)
    again = BankFolder(tmp_path)
    assert [shard.format for shard in again.shards] == ['raw', 'png', 'raw']
    found = np.concatenate([again.read(shard)[0] for shard in again.shards])
    assert np.array_equal(found, images)

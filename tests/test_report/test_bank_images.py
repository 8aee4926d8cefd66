# Copyright (c) csd_mmrazor developers. All rights reserved.
import base64
import io

import numpy as np
import pytest
from PIL import Image

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.report import chosen_images
from csd_mmrazor.report.bank_images import sprite


def bank_of(path, initial, epochs, number=30, shape=(1, 4, 4), classes=10):
    bank = BankFolder(path, shape, classes)
    rng = np.random.default_rng(0)
    for index in range(initial + epochs):
        images = rng.integers(0, 256, (number, *shape), dtype=np.uint8)
        labels = rng.integers(0, classes, number)
        epoch = -1 if index < initial else index - initial
        bank.append(images, labels, epoch, max(index, 0) % 1000, True)
    return bank


@pytest.mark.parametrize(
    'initial, epochs, before, during',
    [(3, 0, 3, 0), (40, 0, 24, 0), (40, 3, 21, 3), (40, 90, 8, 16)]
    + [(0, 90, 0, 24), (2, 90, 2, 22)],
)
def test_rounds_from_first_to_last(initial, epochs, before, during, tmp_path):
    bank = bank_of(tmp_path, initial, epochs)
    shown, wrong = chosen_images(bank)
    assert not wrong
    chosen = [each.shard.epoch for each in shown]
    assert sum(e < 0 for e in chosen) == before
    assert sum(e >= 0 for e in chosen) == during
    assert shown[0].shard == bank.shards[0]
    assert shown[-1].shard == bank.shards[-1]
    assert len({each.shard for each in shown}) == len(shown)
    again, _ = chosen_images(BankFolder(tmp_path))
    for one, other in zip(shown, again):
        assert (one.places == other.places).all()
        images, labels = bank.read(one.shard)
        assert (one.images == images[one.places]).all()
        assert (one.labels == labels[one.places]).all()
        assert (np.diff(one.labels) >= 0).all()
        assert len(set(one.places)) == len(one.places) == 30


def test_few_of_each_class_where_not_all_can_be_shown(tmp_path):
    bank = BankFolder(tmp_path, (1, 2, 2), 5)
    labels = np.repeat(np.arange(5), 100)
    bank.append(np.zeros((500, 1, 2, 2), np.uint8), labels, 0, 0, True)
    (shown,), _ = chosen_images(bank, 50)
    assert np.bincount(shown.labels).tolist() == [10] * 5


@pytest.mark.parametrize(
    'shape, size, channels',
    [
        ((1, 8, 8), (8, 8), 1),
        ((3, 8, 16), (16, 8), 3),
        ((4, 8, 8), (8, 8), 3),
        ((2, 8, 8), (8, 8), 1),
        ((3, 128, 256), (64, 32), 3),
        ((1, 1, 500), (64, 1), 1),
    ],
)
def test_sprites(shape, size, channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (19, *shape), dtype=np.uint8)
    made = sprite(images)
    assert (made['width'], made['height']) == size
    assert (made['columns'], made['rows']) == (16, 2)
    picture = Image.open(io.BytesIO(base64.b64decode(made['png'])))
    assert picture.size == (16 * size[0], 2 * size[1])
    assert picture.mode == ('RGB' if channels == 3 else 'L')
    pixels = np.asarray(picture).reshape(2, size[1], 16, size[0], channels)
    for number, image in enumerate(images):
        seen = pixels[number // 16, :, number % 16].transpose(2, 0, 1)
        expected = image[:channels]
        if expected.shape[1:] != seen.shape[1:]:
            # Means of squares, or about so where sizes do not divide.
            assert abs(seen.mean() - expected.mean()) < 3
        else:
            assert (seen == expected).all()

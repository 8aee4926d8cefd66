# Copyright (c) csd_mmrazor developers. All rights reserved.
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from csd_mmrazor.api.val_images import digest_of_val

PAIRS = [(torch.full((1, 4, 4), n / 50), n % 2) for n in range(50)]


def changed(change):
    return [change(*pair) for pair in PAIRS]


@pytest.mark.parametrize(
    'val',
    [
        None,
        PAIRS[:-1],
        changed(lambda image, label: (image, 1 - label)),
        changed(lambda image, label: (image + 0.1, label)),
        changed(lambda image, label: (image[:, :2], label)),
    ],
)
def test_other_images(val):
    assert digest_of_val(val, 2) != digest_of_val(PAIRS, 2)


def test_the_same_images():
    expected = digest_of_val(PAIRS, 2)
    assert expected[0] == 50 and expected[1]
    assert digest_of_val(DataLoader(PAIRS, 7, shuffle=True), 2) == expected


def test_random_transforms():
    """Only what stays the same counts."""

    class Random:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return dict(image=np.random.rand(2, 2), label=index)

    assert digest_of_val(Random(), 3) == digest_of_val(Random(), 3)


def test_what_cannot_be_read():
    assert digest_of_val(iter([]), 2) == [None, None]
    assert digest_of_val([None, 3], 2) == [2, None]


def test_a_folder(tmp_path):
    for name in 'ab':
        (tmp_path / name).mkdir()
        Image.new('L', (4, 4)).save(tmp_path / name / '1.png')
    before = digest_of_val(tmp_path, 2)
    assert before == digest_of_val(str(tmp_path), 2)
    Image.new('L', (4, 4)).save(tmp_path / 'b/2.png')
    assert digest_of_val(tmp_path, 2) != before

# Copyright (c) csd_mmrazor developers. All rights reserved.
import re

import cv2
import numpy as np
import pytest
from helpers import ROOT


@pytest.fixture
def config(tmp_path):
    """Tests the digits' student, of 10 classes, on pictures as named."""
    for label in range(10):
        path = tmp_path / f'photos/{label}/a.png'
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.full((16, 16), 20 * label, np.uint8))

    def write(images):
        (tmp_path / 'own.py').write_text(
            f'_base_ = {str(ROOT / "configs/csd/csd_digits16.py")!r}\n'
            'test_dataloader = dict(dataset=dict(_delete_=True, '
            f"type='mmpretrain.CustomDataset', {images}, pipeline=[dict("
            "type='LoadImageFromFile', color_type='grayscale'), "
            "dict(type='PackInputs')]))\n"
        )
        return 'own.py'

    return write


def test_labels_that_are_no_classes(config, forked, tmp_path):
    lines = (f'{n}/a.png {n + 1}\n' for n in range(10))
    (tmp_path / 'from_one.txt').write_text(''.join(lines))
    images = "data_root='photos', ann_file='../from_one.txt'"
    done = forked(config(images), 'none', tool='test.py')
    assert done.status == [1] and 'top1' not in done.output
    message = (
        'test_dataloader.dataset has the labels 10, but the network has 1'
    )
    assert message in done.stderr


@pytest.mark.parametrize('is_whole', [True, False])
def test_folders_for_a_part_of_the_classes(config, forked, tmp_path, is_whole):
    if not is_whole:
        (tmp_path / 'photos/3/a.png').unlink()
        (tmp_path / 'photos/3').rmdir()
    done = forked(config("data_root='photos'"), 'none', tool='test.py')
    assert done.status == [0], done.output
    assert 'accuracy/top1' in done.output
    told = re.findall('has folders of 9 classes, 0, 1, 2, 4', done.output)
    assert len(told) == (not is_whole)

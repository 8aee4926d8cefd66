# Copyright (c) csd_mmrazor developers. All rights reserved.
"""ImageNet's validation images, in either layout, or not there."""

import numpy as np
import pytest
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from PIL import Image

from csd_mmrazor.datasets import ImageNetImages


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path)


def test_a_folder_with_a_list(tmp_path):
    put(tmp_path / 'val/b.JPEG')
    put(tmp_path / 'val/a.JPEG')
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta/val.txt').write_text('b.JPEG 999\na.JPEG 3\n')
    images = ImageNetImages(data_root=str(tmp_path), split='val')
    found = [images.get_data_info(index) for index in range(len(images))]
    assert [each['gt_label'] for each in found] == [999, 3]
    assert found[0]['img_path'].endswith('val/b.JPEG')
    assert images.metainfo['classes'] == IMAGENET_CATEGORIES


def test_a_folder_of_each_class(tmp_path):
    for number in range(1000):
        (tmp_path / f'val/n{number:08d}').mkdir(parents=True)
    put(tmp_path / 'val/n00000007/x.JPEG')
    images = ImageNetImages(data_root=str(tmp_path), split='val')
    assert len(images) == 1 and images.get_data_info(0)['gt_label'] == 7
    (tmp_path / 'val/n00000008').rmdir()
    with pytest.raises(AssertionError, match=r'\(999\) .* \(1000\)'):
        ImageNetImages(data_root=str(tmp_path), split='val')


@pytest.mark.parametrize('layout', ['nothing', 'empty', 'no classes'])
def test_it_says_what_to_put_where(tmp_path, layout):
    if layout == 'empty':
        (tmp_path / 'val').mkdir()
    elif layout == 'no classes':
        put(tmp_path / 'val/a.JPEG')
    with pytest.raises(FileNotFoundError) as told:
        ImageNetImages(data_root=str(tmp_path), split='val')
    text = str(told.value)
    if layout == 'no classes':
        assert f'{tmp_path}/meta/val.txt' in text
    else:
        assert 'ILSVRC2012_img_val.tar' in text
        assert f'{tmp_path}/val/<class>/*.JPEG' in text
        assert 'val_dataloader.dataset.data_root=FOLDER' in text

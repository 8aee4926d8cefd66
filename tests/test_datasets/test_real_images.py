# Copyright (c) csd_mmrazor developers. All rights reserved.
import urllib.error

import numpy as np
import pytest
from conftest import build  # noqa: F401
from mmengine.registry import DefaultScope
from mmrazor.registry import DATASETS
from PIL import Image

from csd_mmrazor.datasets import Digits


def dataset(**kwargs):
    cfg = dict(type='CIFAR10Images', split='test')
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return DATASETS.build(
            dict(cfg, pipeline=[dict(type='mmpretrain.PackInputs')], **kwargs)
        )


def images_in(root, names=('bird', 'airplane', 'truck')):
    for name in names:
        folder = root / name
        folder.mkdir(parents=True)
        color = (len(name), 100, 200)
        Image.new('RGB', (32, 32), color).save(folder / '1.png')


@pytest.mark.parametrize('below', ['', 'test'])
def test_class_folders(tmp_path, below):
    images_in(tmp_path / below)
    data = dataset(data_root=str(tmp_path))
    labels = {data[i]['data_samples'].gt_label.item() for i in range(3)}
    assert labels == {0, 2, 9}  # airplane, bird and truck
    bird = next(
        item for item in data if item['data_samples'].gt_label.item() == 2
    )
    assert bird['inputs'].shape == (3, 32, 32)
    assert bird['inputs'][:, 0, 0].tolist() == [4, 100, 200]  # RGB


def test_the_published_files_still_work(tmp_path, monkeypatch):
    import pickle

    from csd_mmrazor.datasets import CIFAR10Images

    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    images = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8)
    content = dict(data=images.reshape(2, 3072), labels=[3, 5])
    (folder / 'test_batch').write_bytes(pickle.dumps(content))
    monkeypatch.setattr(CIFAR10Images, 'test_list', [['test_batch', None]])
    monkeypatch.setattr(CIFAR10Images, 'train_list', [])
    data = dataset(data_root=str(tmp_path))
    assert len(data) == 2
    assert data[1]['data_samples'].gt_label.item() == 5
    expected = images.reshape(2, 3, 32, 32)
    assert np.array_equal(data[1]['inputs'].numpy(), expected[1])


def test_offline_says_which_file_to_put_where(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('urllib.request.urlopen', fail)
    root = tmp_path / 'data'
    with pytest.raises(FileNotFoundError) as error:
        dataset(data_root=str(root))
    for part in (
        'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz',
        f'put it at {root}/cifar-10-python.tar.gz',
        'val_dataloader.dataset.data_root=FOLDER',
        'no network',
    ):
        assert part in str(error.value)


def test_folders_of_other_classes_are_told(tmp_path):
    images_in(tmp_path, ('bird', 'whale'))
    with pytest.raises(ValueError, match="'whale'.*do not fit airplane"):
        dataset(data_root=str(tmp_path))


def test_digits():
    splits = {s: Digits(split=s) for s in ('train', 'test')}
    assert [len(d) for d in splits.values()] == [1437, 360]
    images = {
        s: {d.get_data_info(i)['img'].tobytes() for i in range(len(d))}
        for s, d in splits.items()
    }
    assert not images['train'] & images['test']
    info = splits['test'].get_data_info(0)
    assert info['img'].shape == (8, 8) and info['img'].dtype == np.uint8
    counts = np.bincount(splits['test'].get_gt_labels())
    assert counts.min() >= 34 and counts.max() <= 38
    infos = [splits['train'].get_data_info(i) for i in range(1437)]
    stack = np.stack([info['img'] for info in infos])
    assert stack.max() == 255 and stack.min() == 0
    # What configs/_base_/digits.py normalises with.
    assert stack.mean() == pytest.approx(77.9, abs=0.05)
    assert stack.std() == pytest.approx(95.9, abs=0.05)


def test_digits_of_another_size():
    data = Digits(split='test', img_size=16)
    assert data.get_data_info(0)['img'].shape == (16, 16)


def test_digits_of_no_split():
    with pytest.raises(ValueError, match='split .* but got .val'):
        Digits(split='val')

# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import pickle
import sys
import urllib.error
import zipfile

import numpy as np
import pytest
from helpers import build  # noqa: F401
from mmengine.registry import DefaultScope
from mmrazor.registry import DATASETS
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from csd_mmrazor.datasets import Digits, TinyImageNet


def dataset(type='CIFAR10Images', split='test', **kwargs):
    cfg = dict(type=type, split=split)
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


@pytest.fixture(scope='module')
def opened():
    """The files that are opened; called to begin with none."""
    found, is_on = [], [True]

    def hook(event, args):
        if event == 'open' and is_on:
            found.append(str(args[0]))

    sys.addaudithook(hook)  # which stays
    yield found
    is_on.clear()


def cifar(root, monkeypatch, type):
    """CIFAR as published, but with two images in each file."""
    kind = DATASETS.get(type)
    images = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8)
    key = 'labels' if type == 'CIFAR10Images' else 'fine_labels'
    content = {'data': images.reshape(2, 3072), key: [3, 5]}
    (root / kind.base_folder).mkdir(parents=True)
    for split in ('train_list', 'test_list'):
        files = []
        for number, (name, _) in enumerate(getattr(kind, split)):
            content['batch_label'] = f'{split} {number}'
            made = pickle.dumps(content, protocol=2)
            (root / kind.base_folder / name).write_bytes(made)
            files.append([name, hashlib.md5(made).hexdigest()])
        monkeypatch.setattr(kind, split, files)
    return images.reshape(2, 3, 32, 32)


@pytest.mark.parametrize('split', ['train', 'test'])
@pytest.mark.parametrize('type', ['CIFAR10Images', 'CIFAR100Images'])
def test_cifar_as_published(tmp_path, monkeypatch, opened, type, split):
    images = cifar(tmp_path, monkeypatch, type)
    kind = DATASETS.get(type)
    other = kind.train_list if split == 'test' else kind.test_list
    # With the files of the other split, which are not opened, and without.
    for is_whole in (True, False):
        opened.clear()
        data = dataset(type, split, data_root=str(tmp_path))
        used = {p.split('/')[-1] for p in opened if kind.base_folder in p}
        own = kind.test_list if split == 'test' else kind.train_list
        assert used == {name for name, _ in own}
        assert len(data) == 2 * len(own)
        assert data[1]['data_samples'].gt_label.item() == 5
        assert np.array_equal(data[1]['inputs'].numpy(), images[1])
        for name, _ in other if is_whole else ():
            (tmp_path / kind.base_folder / name).unlink()


def test_cifar_that_is_damaged(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('urllib.request.urlopen', fail)
    cifar(tmp_path, monkeypatch, 'CIFAR10Images')
    path = tmp_path / 'cifar-10-batches-py/test_batch'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileNotFoundError, match='cifar-10-python.tar.gz is'):
        dataset(data_root=str(tmp_path))


SVHN = 'http://ufldl.stanford.edu/housenumbers'


@pytest.mark.parametrize(
    'type, split, url',
    [
        (
            'CIFAR10Images',
            'test',
            'https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz',
        ),
        ('SVHNImages', 'test', f'{SVHN}/test_32x32.mat'),
        ('SVHNImages', 'train', f'{SVHN}/train_32x32.mat'),
        (
            'TinyImageNet',
            'val',
            'http://cs231n.stanford.edu/tiny-imagenet-200.zip',
        ),
    ],
)
def test_offline_says_which_file_to_put_where(
    tmp_path, monkeypatch, type, split, url
):
    def fail(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr('urllib.request.urlopen', fail)
    root = tmp_path / 'data'
    with pytest.raises(FileNotFoundError) as error:
        dataset(type, split, data_root=str(root))
    for part in (
        url,
        f'put it at {root}/{url.split("/")[-1]}',
        f'{"train" if split == "train" else "val"}_dataloader.dataset.'
        'data_root=FOLDER',
        'no network',
    ):
        assert part in str(error.value)


def test_folders_of_other_classes_are_told(tmp_path):
    images_in(tmp_path, ('bird', 'whale'))
    with pytest.raises(ValueError, match="do not match airplane.*'whale'"):
        dataset(data_root=str(tmp_path))


@pytest.mark.parametrize('names', [('whale',), ('Bird', 'Truck'), '0123'])
def test_folders_are_not_passed_over(tmp_path, monkeypatch, names):
    """What is no class of the data set is not replaced by a download."""

    def fail(*args, **kwargs):
        raise AssertionError('downloads')

    monkeypatch.setattr('urllib.request.urlopen', fail)
    images_in(tmp_path / 'test', names)
    with pytest.raises(ValueError, match='do not match airplane'):
        dataset(data_root=str(tmp_path))


def test_damaged_images_are_named(tmp_path):
    images_in(tmp_path)
    path = tmp_path / 'bird/1.png'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f'{path} cannot be read'):
        dataset(data_root=str(tmp_path))


def test_svhn_in_class_folders(tmp_path):
    images_in(tmp_path / 'test', '407')
    data = dataset('SVHNImages', data_root=str(tmp_path))
    labels = [data[i]['data_samples'].gt_label.item() for i in range(3)]
    assert labels == [0, 4, 7]


def test_svhn_as_published(tmp_path, monkeypatch, opened):
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    images = np.arange(2 * 3072, dtype=np.uint32).astype(np.uint8)
    images = images.reshape(32, 32, 3, 2)
    path = tmp_path / 'test_32x32.mat'
    # The published labels have 10 for the digit 0.
    savemat(path, dict(X=images, y=np.array([[10], [3]], np.uint8)))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    entry = [SVHN.split_list['test'][0], path.name, md5]
    monkeypatch.setitem(SVHN.split_list, 'test', entry)
    # The published file goes before folders of classes.
    images_in(tmp_path / 'test', '407')
    (tmp_path / 'train_32x32.mat').write_bytes(path.read_bytes())
    opened.clear()
    data = dataset('SVHNImages', data_root=str(tmp_path))
    assert {name for name in opened if '.mat' in name} == {str(path)}
    assert len(data) == 2
    samples = [data[i]['data_samples'].gt_label.item() for i in range(2)]
    assert samples == [0, 3]
    expected = images[..., 1].transpose(2, 0, 1)
    assert np.array_equal(data[1]['inputs'].numpy(), expected)


@pytest.mark.parametrize('type', ['SVHNImages', 'TinyImageNet'])
def test_no_such_split(tmp_path, type):
    with pytest.raises(ValueError, match=f'split of {type}.*got .extra'):
        dataset(type, 'extra', data_root=str(tmp_path))


@pytest.fixture(scope='module')
def tiny_imagenet(tmp_path_factory):
    """tiny-imagenet-200/ as published, but with one image of each class."""
    root = tmp_path_factory.mktemp('data') / 'tiny-imagenet-200'
    names = [f'n{number:08d}' for number in range(200)]
    lines = []
    (root / 'val/images').mkdir(parents=True)
    # Not in the order of the classes' names.
    for number, name in enumerate(reversed(names)):
        image = Image.new('RGB', (64, 64), (200, 100, 199 - number))
        folder = root / 'train' / name / 'images'
        folder.mkdir(parents=True)
        image.save(folder / f'{name}_0.JPEG', quality=100)
        (folder.parent / f'{name}_boxes.txt').write_text('')
        image.save(root / f'val/images/val_{number}.JPEG', quality=100)
        lines.append(f'val_{number}.JPEG\t{name}\t0\t0\t9\t9\n')
    (root / 'val/val_annotations.txt').write_text(''.join(lines))
    return root


def tiny(root, split='val'):
    cfg = dict(type='TinyImageNet', data_root=str(root), split=split)
    read = dict(type='mmpretrain.LoadImageFromFile')
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return DATASETS.build(
            dict(cfg, pipeline=[read, dict(type='mmpretrain.PackInputs')])
        )


@pytest.mark.parametrize('split', ['train', 'val'])
@pytest.mark.parametrize('inside', [True, False])
def test_tiny_imagenet_as_published(tiny_imagenet, opened, split, inside):
    opened.clear()
    data = tiny(tiny_imagenet if inside else tiny_imagenet.parent, split)
    assert len(data) == 200
    for index in (0, 57):
        item = data[index]
        label = item['data_samples'].gt_label.item()
        # Blue tells the class; channels are BGR.
        assert abs(item['inputs'][0].float().mean() - label) < 4
        assert item['inputs'].shape == (3, 64, 64)
    other = tiny_imagenet / ('train' if split == 'val' else 'val')
    assert not any(name.startswith(f'{other}/') for name in opened)


def test_tiny_imagenet_is_unpacked_from_its_file(
    tiny_imagenet, tmp_path, monkeypatch
):
    archive = tmp_path / 'tiny-imagenet-200.zip'
    with zipfile.ZipFile(archive, 'w') as file:
        for path in tiny_imagenet.rglob('*'):
            file.write(path, path.relative_to(tiny_imagenet.parent))
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(TinyImageNet, 'md5', md5)
    assert len(tiny(tmp_path)) == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'tiny-imagenet-200',
        'tiny-imagenet-200.zip',
    ]


def test_all_processes_wait_for_who_unpacks(tiny_imagenet, monkeypatch):
    """Also those that look once it is there."""
    waited, asked = [], []

    def of_all(is_lacking):
        asked.append(is_lacking)
        return [is_lacking, len(asked) > 1]

    module = 'csd_mmrazor.datasets.tiny_imagenet'
    monkeypatch.setattr(f'{module}.barrier', lambda: waited.append(None))
    monkeypatch.setattr(f'{module}.all_gather_object', of_all)
    for lacks in (False, True):
        assert len(tiny(tiny_imagenet)) == 200
        assert bool(waited) == lacks
    assert asked == [False, False]


def test_an_archive_without_the_split(tmp_path, monkeypatch):
    archive = tmp_path / 'tiny-imagenet-200.zip'
    with zipfile.ZipFile(archive, 'w') as file:
        file.writestr('tiny-imagenet-200/words.txt', '')
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(TinyImageNet, 'md5', md5)
    with pytest.raises(FileNotFoundError, match=r"zip in .* no folder 'val'"):
        tiny(tmp_path)


def test_tiny_imagenet_in_class_folders(tmp_path):
    for number in range(200):
        folder = tmp_path / 'val' / f'c{number:03d}'
        folder.mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(folder / '1.png')
    data = tiny(tmp_path)
    assert [data.get_data_info(i)['gt_label'] for i in (0, 199)] == [0, 199]
    (folder / '1.png').unlink()
    with pytest.raises(ValueError, match='199 classes, but there are 200'):
        tiny(tmp_path)


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


def test_digits_are_split_as_scikit_learn_does():
    levels, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        np.uint8(np.round(levels / 16 * 255)).reshape(-1, 8, 8),
        labels,
        test_size=0.2,
        stratify=labels,
        random_state=0,
    )
    for number, split in enumerate(('train', 'test')):
        data = Digits(split=split)
        assert np.array_equal(data.get_gt_labels(), parts[2 + number])
        for index, image in enumerate(parts[number]):
            assert np.array_equal(data.get_data_info(index)['img'], image)


def test_digits_of_another_size():
    data = Digits(split='test', img_size=16)
    assert data.get_data_info(0)['img'].shape == (16, 16)


def test_digits_of_no_split():
    with pytest.raises(ValueError, match='split .* but got .val'):
        Digits(split='val')

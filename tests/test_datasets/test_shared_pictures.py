# Copyright (c) csd_mmrazor developers. All rights reserved.
import shutil

import numpy as np
import pytest
from mmengine.dataset import RepeatDataset
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset
from torchvision.datasets import FakeData, ImageFolder

from csd_mmrazor.datasets import (
    BankFolder,
    CIFAR10Images,
    FolderImages,
    ImageBank,
)
from csd_mmrazor.datasets.bank_folder import IMPORTED, INITIAL
from csd_mmrazor.datasets.shared_pictures import (
    check_apart,
    pictures_of,
    share_among,
)

NAMES = ('val', 'init_bank')


@pytest.fixture
def folder(tmp_path):
    """30 pictures of two classes."""
    for place in range(30):
        path = tmp_path / f'a/{place % 2}/{place:02}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), place, np.uint8)).save(path)
    return tmp_path / 'a'


class Remote(ImageFolder):
    """Its pictures are elsewhere."""

    def __init__(self, root):
        super().__init__(root)
        self.samples = [(f'http://{path}', y) for path, y in self.samples]


class Own(Dataset):
    """A stranger's, around another one or a part of it."""

    def __init__(self, parts, size=None):
        self.parts, self.size = parts, size or len(parts)

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return self.parts[index]


def test_the_pictures_of_data_sets(folder):
    own = sorted(folder.glob('*/*.png'))
    whole = ImageFolder(str(folder))
    for images in (
        str(folder),
        folder,
        whole,
        DataLoader(whole, 4, shuffle=True),
        Own(whole),
        FolderImages(str(folder), (1, 8, 8), 2),
    ):
        assert sorted(pictures_of(images)) == own
    parts = [Subset(whole, [3, 1]), Subset(Subset(whole, [2, 7, 5]), [1])]
    files = [str(path) for path in pictures_of(ConcatDataset(parts))]
    assert files == [whole.samples[index][0] for index in (3, 1, 7)]
    unknown = (
        *(FakeData(4), Subset(FakeData(4), [1]), Remote(str(folder)), [3]),
        Own(whole, 29),  # which may be any
    )
    assert not any(map(pictures_of, unknown))


def test_the_pictures_of_mmpretrain(folder):
    for place, name in enumerate(CIFAR10Images.METAINFO['classes']):
        (folder / f'test/{name}').mkdir(parents=True)
        shutil.copy(folder / f'0/{2 * place:02}.png', folder / f'test/{name}')
    images = CIFAR10Images(data_root=str(folder), split='test', pipeline=[])
    assert {path.name for path in pictures_of(images)} == {
        f'{2 * place:02}.png' for place in range(10)
    }
    for val in (images, RepeatDataset(images, 2)):
        match = '^About 100 % .*of val are in init'
        with pytest.raises(ValueError, match=match):
            check_apart(val, folder / '0', NAMES, 'leave val out')


def test_a_share_of_pictures(folder, tmp_path):
    told = check_apart(FakeData(4), folder, NAMES, 'leave val out')
    assert told.startswith('val does not say which files its images are of')
    half = Subset(ImageFolder(str(folder)), range(15))
    some = tmp_path / 'some'
    shutil.copytree(folder / '1', some)
    assert check_apart(half, some, NAMES, 'leave val out') == ''
    # A photo may be in both parts of a data set.
    shutil.copy(folder / '0/00.png', some / 'copy.png')
    told = check_apart(half, some, NAMES, 'leave val out')
    assert told.startswith('some pictures of val are in init_bank as well')
    shutil.copy(folder / '0/02.png', some / 'second.png')
    with pytest.raises(ValueError, match='^About 13 % .* or leave val out'):
        check_apart(half, some, NAMES, 'leave val out')
    assert share_among(pictures_of(some), pictures_of(half)) == 2 / 17


def test_pictures_that_a_bank_was_made_of(folder, tmp_path):
    pictures = sorted((folder / '0').glob('*.png'))
    images = np.stack([np.array(Image.open(path)) for path in pictures])
    bank = BankFolder(tmp_path / 'bank', (1, 8, 8), 2)
    labels = np.zeros(len(images), np.int64)
    # What a generator made is nobody's picture.
    bank.append(images[:, None], labels, INITIAL, 0, True)
    assert check_apart(folder, bank.path, NAMES, 'leave val out') == ''
    real = BankFolder(tmp_path / 'real', (1, 8, 8), 2)
    real.start_with('0' * 64)
    real.append(images[:, None], labels, IMPORTED, 0, True)
    with pytest.raises(ValueError, match='^About 50 % .* of val are in init'):
        check_apart(folder, real.path, NAMES, 'leave val out')
    assert check_apart(folder / '1', real.path, NAMES, 'leave val out') == ''
    # Of another size, none is the same.
    larger = tmp_path / 'larger/0'
    larger.mkdir(parents=True)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(larger / 'a.png')
    assert check_apart(larger, real.path, NAMES, 'leave val out') == ''


@pytest.mark.parametrize('kind', ['raw', 'png', 'jpeg', 'webp'])
def test_pictures_that_a_bank_has_changed(folder, tmp_path, kind):
    """Of those, none is equal to its file."""
    real = tmp_path / 'real'
    ImageBank(init_bank=str(folder), image_format=kind).open(
        real, (1, 8, 8), 2
    )
    for val in (folder, folder / '0'):
        if kind in ('raw', 'png'):
            with pytest.raises(ValueError, match='^About 100 % .* are in ini'):
                check_apart(val, real, NAMES, 'leave val out')
        else:
            told = check_apart(val, real, NAMES, 'leave val out')
            assert told.startswith(f'init_bank has pictures as {kind}, which')

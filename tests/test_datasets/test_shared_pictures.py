# Copyright (c) csd_mmrazor developers. All rights reserved.
import shutil

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Subset
from torchvision.datasets import FakeData, ImageFolder

from csd_mmrazor.datasets import CIFAR10Images, FolderImages
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


def test_the_pictures_of_data_sets(folder):
    own = sorted(folder.glob('*/*.png'))
    whole = ImageFolder(str(folder))
    for images in (
        str(folder),
        folder,
        whole,
        DataLoader(whole, 4, shuffle=True),
        FolderImages(str(folder), (1, 8, 8), 2),
    ):
        assert sorted(pictures_of(images)) == own
    parts = [Subset(whole, [3, 1]), Subset(Subset(whole, [2, 7, 5]), [1])]
    files = [str(path) for path in pictures_of(ConcatDataset(parts))]
    assert files == [whole.samples[index][0] for index in (3, 1, 7)]
    unknown = (FakeData(4), Subset(FakeData(4), [1]), Remote(str(folder)), [3])
    assert not any(map(pictures_of, unknown))


def test_the_pictures_of_mmpretrain(folder):
    for place, name in enumerate(CIFAR10Images.METAINFO['classes']):
        (folder / f'test/{name}').mkdir(parents=True)
        shutil.copy(folder / f'0/{2 * place:02}.png', folder / f'test/{name}')
    images = CIFAR10Images(data_root=str(folder), split='test', pipeline=[])
    assert {path.name for path in pictures_of(images)} == {
        f'{2 * place:02}.png' for place in range(10)
    }
    with pytest.raises(ValueError, match='^About 100 % .*of val are in init'):
        check_apart(images, folder / '0', NAMES, 'leave val out')


def test_a_share_of_pictures(folder, tmp_path):
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

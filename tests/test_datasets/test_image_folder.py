# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging

import numpy as np
import pytest
from mmengine.logging import MMLogger

from csd_mmrazor.datasets.folder_images import fitted
from csd_mmrazor.datasets.image_folder import (
    list_image_folder,
    list_pictures,
    names_of_folders,
)


def fill(root, *paths):
    for path in paths:
        path = root / path
        if path.suffix or path.name.startswith('.'):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True, exist_ok=True)
    return root


def found(root, *args):
    return {
        str(path.relative_to(root)): label
        for path, label in list_image_folder(root, *args)
    }


@pytest.mark.parametrize(
    'paths, args, expected',
    [
        (['a/1.png', 'b/1.jpg'], (2,), {'a/1.png': 0, 'b/1.jpg': 1}),
        (['a/1.png', 'b/1.jpg'], (), {'a/1.png': 0, 'b/1.jpg': 1}),
        (['1/x.png', '0/x.png'], (2,), {'0/x.png': 0, '1/x.png': 1}),
        (
            [f'{number}/x.png' for number in range(11)],
            (11,),
            {f'{number}/x.png': number for number in range(11)},
        ),
        (['00/x.png', '01/x.png'], (2,), {'00/x.png': 0, '01/x.png': 1}),
        # The place among the names is known, so nothing is shifted.
        (['b/1.png'], (None, ['a', 'b', 'c']), {'b/1.png': 1}),
        (
            ['a/1.PNG', 'a/images/2.png', 'a/a_boxes.txt', 'a/.x.png'],
            (1,),
            {'a/1.PNG': 0, 'a/images/2.png': 0},
        ),
        (
            ['.hidden/1.png', 'a/1.png', 'a/Thumbs.db', 'notes.txt'],
            (1,),
            {'a/1.png': 0},
        ),
    ],
)
def test_labels(tmp_path, paths, args, expected):
    assert found(fill(tmp_path, *paths), *args) == expected


NINE = [f'class{number}/1.png' for number in range(9)]


@pytest.mark.parametrize(
    'paths, args, message',
    [
        (NINE, (10,), '9 classes, but there are 10: which of them'),
        ([*NINE, 'x/1.png', 'y/1.png'], (10,), 'do not match 10 classes'),
        (['a/1.png', 'b', 'c/1.png'], (3,), '2 classes.*there is none in b'),
        (['a/1.png', 'b', 'c/1.png'], (), '2 classes.*there is none in b'),
        (['a/1.png', 'b/b.txt'], (2,), 'there is none in b'),
        (['a/1.png', 'b/images'], (2,), 'there is none in b'),
        (['a/1.png', 'b'], (None, ['a', 'b', 'c']), 'there is none in b'),
        (['0/1.png', '2/1.png'], (3,), 'there is no folder 1'),
        (['0/1.png', '2/1.png'], (4,), 'there is no folder 1, 3'),
        (['0/1.png', '3/1.png'], (), r'do not match|there is no folder'),
        (['1/1.png', '2/1.png'], (3,), 'there is no folder 0'),
        (['1/1.png', '2/1.png'], (2,), r"0\.\.1\. If .*\['1', '2'\]"),
        (['0/1.png', '00/1.png', '1/1.png'], (2,), 'same number twice'),
        (['0/1.png', 'cat/1.png'], (2,), "are numbers and 'cat' is not"),
        (['a/1.png', 'z/1.png'], (None, ['a', 'b']), 'do not match a, b'),
        (['a/1.png', 'b/1.png'], (None, [*'aba']), "classes has 'a' twice"),
        (['a/1.png', '1.png'], (1,), '1.png belongs to no class'),
        (['a/1.png', 'a/2.gif'], (1,), 'a/2.gif is not an image'),
        (['a/1.png', 'a/2.tiff'], (1,), 'a/2.tiff is not an image'),
        (['a/1.png', 'a/2.npy'], (1,), 'a/2.npy is not an image'),
        (['a/1.png', 'a/b'], (1,), 'a/b is a folder within'),
        (['a/1.png', 'a/b/1.png'], (1,), 'a/b is a folder within'),
        (['a/1.png', 'a/images/b/1.png'], (1,), 'images/b is a folder within'),
        (
            ['a/1.png', 'a/images/images/1.png'],
            (1,),
            'images is a folder within',
        ),
    ],
)
def test_what_would_give_wrong_labels(tmp_path, paths, args, message):
    with pytest.raises(ValueError, match=message):
        list_image_folder(fill(tmp_path, *paths), *args)


@pytest.mark.parametrize(
    'folders, classes, labels',
    [
        (['one', 'two'], ['zero', 'two', 'one'], [2, 1]),
        # Numbers and ImageNet's synsets have an order of their own.
        (['0', '1', '2'], ['zero', 'one', 'two'], [0, 1, 2]),
        (['n01440764', 'n01443537'], ['tench', 'goldfish'], [0, 1]),
        (['7', '3'], ['3', '5', '7'], [0, 2]),
        (['a', 'b'], [], [0, 1]),
        # Numbers do not tell which of them has which name.
        (['a', 'b'], ['0', '1'], [0, 1]),
        (['one', '.two'], ['two', 'one'], [1]),
    ],
)
def test_folders_by_the_names_of_classes(tmp_path, folders, classes, labels):
    fill(tmp_path, *(f'{name}/1.png' for name in folders))
    names = names_of_folders(tmp_path, classes)
    expected = {
        f'{name}/1.png': label
        for name, label in zip(
            sorted(f for f in folders if not f.startswith('.')), labels
        )
    }
    assert found(tmp_path, len(classes) or None, names) == expected


@pytest.mark.parametrize(
    'folders, classes, message',
    [
        (['Nine', 'zero'], ['nine', 'zero'], "1 of 2 .*'Nine' .*mean 'nine'"),
        (['NINE', 'ZERO'], ['nine', 'zero'], "2 of 2 .*'ZERO' .*mean 'zero'"),
        (['nine ', 'zero'], ['nine', 'zero'], "'nine ' .did you mean 'nine'"),
        (['nien', 'zero'], ['nine', 'zero'], "'nien' .did you mean 'nine'"),
        (['extra', 'nine'], ['nine', 'zero'], "do not match .*'extra'"),
        (['cats', 'dogs'], ['nine', 'zero'], "'cats', 'dogs'"),
        (['0', 'nine'], ['nine', 'zero'], "folders .*: '0'"),
        (['0', '1'], ['1', '7'], "folders .*: '0'"),
        (['01', '7'], ['1', '7'], "'01'"),
        (['n01440764', 'n0'], ['tench', 'pike'], "'n0', 'n01440764'"),
        (
            ['in/nine', 'in/zero'],
            ['nine', 'zero'],
            r'in \S+/in: give \S+/in.$',
        ),
        (
            ['test/nine', 'train/nine', 'train/zero'],
            ['nine', 'zero'],
            r'in \S+/test and in \S+/train: give one of these',
        ),
        # One of them is a class.
        (['nine', 'in/nine'], ['nine', 'zero'], "1 of 2 .*: 'in'"),
    ],
)
def test_folders_of_no_class(tmp_path, folders, classes, message):
    fill(tmp_path, *(f'{name}/1.png' for name in folders))
    names = names_of_folders(tmp_path, classes)
    with pytest.raises(ValueError, match=message):
        list_image_folder(tmp_path, len(classes), names)


def test_missing_classes_are_told(tmp_path):
    fill(tmp_path, 'cat/1.png')
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        list_image_folder(tmp_path, classes=['cat', 'dog', 'eel'])
    finally:
        logger.removeHandler(handler)
    assert 'no images of dog, eel' in records[0].getMessage()


@pytest.mark.parametrize('args', [(), (3,), (None, ['a'])])
def test_no_images_at_all(tmp_path, args):
    with pytest.raises(FileNotFoundError, match='There are no images in'):
        list_image_folder(tmp_path, *args)
    fill(tmp_path, 'a/notes.txt')
    with pytest.raises(FileNotFoundError, match='There are no images in'):
        list_image_folder(tmp_path, *args)


def test_links_are_followed_but_not_round(tmp_path):
    """Images without labels may lie in any folders."""
    fill(tmp_path / 'elsewhere', 'b/1.png', 'b/c/2.png')
    fill(tmp_path / 'root', 'a/3.png')
    (tmp_path / 'root/b').symlink_to(tmp_path / 'elsewhere/b')
    (tmp_path / 'root/a/back').symlink_to(tmp_path / 'root')
    (tmp_path / 'elsewhere/b/c/over').symlink_to(tmp_path / 'root/a')
    (tmp_path / 'link').symlink_to(tmp_path / 'root')
    paths = ['a/3.png', 'b/1.png', 'b/c/2.png', 'b/c/over/3.png']
    for root in (tmp_path / 'root', tmp_path / 'link'):
        assert list_pictures(root) == [root / path for path in paths]


@pytest.mark.parametrize('link', ['b', 'a/2.png', 'a/inner'])
def test_links_that_lead_nowhere(tmp_path, link):
    """Of a picture, or of all pictures of a class."""
    fill(tmp_path / 'root', 'a/1.png')
    (tmp_path / 'root' / link).symlink_to(tmp_path / 'gone')
    message = f'{link} is a link to {tmp_path}/gone, which is not there'
    with pytest.raises(ValueError, match=message):
        list_image_folder(tmp_path / 'root', classes=['a', 'b'])
    if not link.endswith('.png'):  # told when it is read
        with pytest.raises(ValueError, match=message):
            list_pictures(tmp_path / 'root', flat=True)


@pytest.mark.parametrize('beside', ['wnids.npy', 'all.zip', 'logo.gif'])
def test_a_file_beside_the_folders_of_classes(tmp_path, beside):
    """It is no image, unless any may be one."""
    root = fill(tmp_path, beside, 'a/1.png', 'b/2.png')
    paths = [root / 'a/1.png', root / 'b/2.png']
    assert [path for path, _ in list_image_folder(root)] == paths
    assert list_pictures(root) == list_pictures(str(root)) == paths
    with pytest.raises(ValueError, match=f'{beside} is not an image'):
        list_pictures(root, flat=True)
    fill(root, f'a/{beside}')
    with pytest.raises(ValueError, match=f'a/{beside} is not an image'):
        list_pictures(root)


def test_numbers_from_1_are_suggested_in_their_order(tmp_path):
    for number in range(1, 11):
        (tmp_path / f'{number}').mkdir()
        (tmp_path / f'{number}/a.png').touch()
    listed = ', '.join(repr(f'{number}') for number in range(1, 11))
    message = rf'do not match 10 classes, .* in this order: classes=\[{listed}'
    with pytest.raises(ValueError, match=message):
        list_image_folder(tmp_path, 10)


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_channels_are_scaled_by_themselves(channels):
    """The last of four is no opacity."""
    values = np.array([200, 10, 100, 0][-channels:], np.uint8)
    image = np.tile(values, (8, 6, 1))
    found = fitted(image, (channels, 4, 3))
    assert found.shape == (channels, 4, 3)
    assert found.flatten(1).unique(dim=1)[:, 0].tolist() == values.tolist()

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What is said of the teacher's accuracy, and of images to measure it on."""

import re
import shutil

import numpy as np
import pytest
import torch
import torch.nn as nn
from mmengine.dataset import pseudo_collate
from mmpretrain.structures import DataSample
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    random_split,
)

from csd_mmrazor.api import doubts
from csd_mmrazor.api.doubts import (
    Answers,
    answers,
    doubt_of_order,
    doubts_of,
    how_many,
    is_better,
    suspects,
)
from csd_mmrazor.api.inputs import normalisation
from csd_mmrazor.datasets import FolderImages, LentImages, folder_images
from csd_mmrazor.datasets.folder_images import about_sizes
from csd_mmrazor.models import BankDataPreprocessor
from csd_mmrazor.utils.imports import lend


@pytest.fixture(scope='module')
def images(home):
    """The files: (30, 12, 12), uint8, and their labels."""
    paths = sorted(home.glob('val/*/*.png'))
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    return pixels, ['abc'.index(path.parent.name) for path in paths]


class Pairs(Dataset):
    """A user's data set, with a transform."""

    def __init__(self, images, transform):
        self.pixels, self.labels = images
        self.transform = transform

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(self.pixels[index]), self.labels[index]


class Dicts(Pairs):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return dict(image=image, label=label)


KINDS = {
    'picture': Image.fromarray,
    'array': np.asarray,
    'bytes': lambda pixels: torch.from_numpy(pixels.copy())[None],
    'in 0..1': lambda pixels: torch.from_numpy(pixels / 255)[None].float(),
    'array in 0..1': lambda pixels: (pixels / 255).astype(np.float32),
    'array, channel first': lambda pixels: (pixels / 255)[None],
    'array, channel last': lambda pixels: (pixels / 255)[:, :, None],
    'integers': lambda pixels: pixels.astype(np.int64),
    'bytes, channel first': lambda pixels: pixels[None],
    'bytes, channel last': lambda pixels: pixels[:, :, None],
    'normalised array': lambda pixels: (pixels / 255 - 0.4) / 0.3,
    'normalised': lambda pixels: (
        (torch.from_numpy(pixels / 255)[None] - 0.4) / 0.3
    ),
}


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('container', ['set', 'loader', 'subset', 'dicts'])
def test_the_same_images_in_any_form(kind, container, images):
    pairs = (Dicts if container == 'dicts' else Pairs)(images, KINDS[kind])
    val = pairs
    if container == 'loader':
        val = DataLoader(pairs, 7, shuffle=False)
        if kind == 'picture':
            val = DataLoader(pairs, 7, collate_fn=lambda b: list(zip(*b)))
    elif container == 'subset':
        val = DataLoader(
            pairs,
            7,
            sampler=torch.utils.data.SubsetRandomSampler(range(30)),
            collate_fn=lambda batch: list(zip(*batch)),
        )
    with lend(val=val):
        found = LentImages('val', (1, 12, 12), [0.4 * 255], [0.3 * 255])
        assert len(found) == 30
        order = range(30)
        if container == 'subset':  # in the loader's own order
            labels = [int(f['data_samples'].gt_label) for f in found]
            assert sorted(labels) == sorted(images[1])
            return
        for index in order:
            item = found[index]
            expected = torch.from_numpy(images[0][index].copy())[None].float()
            torch.testing.assert_close(
                item['inputs'].float(), expected, atol=1e-3, rtol=0
            )
            assert int(item['data_samples'].gt_label) == images[1][index]


class Batches:
    """A loader of neither torch nor a length."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        return iter(self.loader)


@pytest.mark.parametrize('kind', ['picture', 'bytes'])
@pytest.mark.parametrize(
    'load',
    [
        lambda pairs: DataLoader(pairs, 7, collate_fn=list),
        lambda pairs: DataLoader(pairs, 7, collate_fn=tuple),
        lambda pairs: Batches(DataLoader(pairs, 7, collate_fn=list)),
        lambda pairs: Batches(pairs),
        lambda pairs: DataLoader(
            Dicts((pairs.pixels, pairs.labels), pairs.transform),
            7,
            collate_fn=list,
        ),
    ],
)
def test_loaders_of_items(kind, load, images):
    with lend(val=load(Pairs(images, KINDS[kind]))):
        found = LentImages('val', (1, 12, 12), [0], [255])
        assert len(found) == 30
        for index, item in enumerate(found):
            assert (item['inputs'][0].numpy() == images[0][index]).all()
            assert int(item['data_samples'].gt_label) == images[1][index]


def test_the_loader_of_timm(images):
    loaders = pytest.importorskip('timm.data.loader')
    loader = loaders.PrefetchLoader(
        DataLoader(
            Pairs(images, lambda pixels: pixels[None]),
            7,
            collate_fn=loaders.fast_collate,
        ),
        mean=(0.4,),
        std=(0.3,),
        channels=1,
        device=torch.device('cpu'),
    )
    with lend(val=loader):
        found = LentImages('val', (1, 12, 12), [0.4 * 255], [0.3 * 255])
        assert len(found) == 30 and found.normalised
        for index, item in enumerate(found):
            expected = torch.from_numpy(images[0][index].copy())[None].float()
            torch.testing.assert_close(
                item['inputs'], expected, atol=1e-3, rtol=0
            )
            assert int(item['data_samples'].gt_label) == images[1][index]


@pytest.mark.parametrize('to', [np.asarray, torch.as_tensor])
def test_arrays_that_are_no_items(to, images):
    with lend(val=(to(images[0].copy()), to(images[1]))):
        message = r'got a (ndarray|Tensor)\. Of arrays, give list\(zip\('
        with pytest.raises(TypeError, match=message):
            LentImages('val', (1, 12, 12), [0], [255])


def test_a_part_of_a_data_set(images):
    with lend(val=Subset(Pairs(images, KINDS['bytes']), [3, 5])):
        found = LentImages('val', (1, 12, 12), [0], [255])
        assert len(found) == 2
        assert (found[1]['inputs'].numpy()[0] == images[0][5]).all()


class Named(Pairs):
    classes = ['ant', ('bee', 'wasp')]


class Others(Pairs):
    classes = ['cat', 'dog']


@pytest.mark.parametrize(
    'parts_of',
    [
        lambda named: named,
        lambda named: Subset(named, [3, 5]),
        lambda named: random_split(named, [10, 20])[1],
        lambda named: DataLoader(Subset(Subset(named, [3, 5]), [1])),
        lambda named: ConcatDataset([named, Subset(named, [3])]),
        # One that is read through, since it has a collate_fn of its own.
        lambda named: DataLoader(
            ConcatDataset([named, named]), collate_fn=lambda pairs: pairs[0]
        ),
    ],
)
def test_parts_of_data_sets_have_their_names(parts_of, images):
    named, others = (each(images, KINDS['bytes']) for each in (Named, Others))
    with lend(val=parts_of(named)):
        found = LentImages('val', (1, 12, 12), [0], [255])
        assert found.metainfo == dict(classes=('ant', 'bee, wasp'))
        message = "'ant' has the label 0 in val, .* but is number 1 of class"
        with pytest.raises(ValueError, match=message):
            LentImages(*('val', (1, 12, 12), [0], [255]), ['bee, wasp', 'ant'])
    with lend(val=ConcatDataset([named, others])):  # whose labels are which?
        assert not LentImages('val', (1, 12, 12), [0], [255]).metainfo


class Mapped(Named):
    """As torchvision's data sets have it."""

    def __init__(self, images, target_transform):
        super().__init__(images, KINDS['bytes'])
        self.target_transform = target_transform

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image, self.target_transform(label)


@pytest.mark.parametrize(
    'mapping, is_known',
    [
        ([1, 0].__getitem__, False),
        ([0].__getitem__, False),
        (int, True),
        (torch.tensor, True),
        (lambda label: label, True),
        (lambda label: torch.eye(2)[label], False),
    ],
)
def test_labels_that_a_data_set_maps(mapping, is_known, images):
    """Its names are those of the labels before."""
    with lend(val=Subset(Mapped(images, mapping), [3, 5])):
        found = LentImages('val', (1, 12, 12), [0], [255])
        names = dict(classes=('ant', 'bee, wasp')) if is_known else {}
        assert found.metainfo == names
        if not is_known:
            order = ['bee, wasp', 'ant']
            found = LentImages('val', (1, 12, 12), [0], [255], order)
            assert found.metainfo == dict(classes=tuple(order))


class Some(Pairs):
    classes = ['crane', 'dog', 'eel', 'crane']


@pytest.mark.parametrize(
    'classes, message',
    [
        # A class in between, or before them, has no images.
        (['crane', 'cat', 'dog'], "'dog' has the label 1 in .* is number 2 "),
        (['cat', 'dog', 'ox', 'eel'], "'eel' has the label 2 .* number 3 "),
        # More classes than are named.
        (['dog', 'crane'], "'dog' has the label 1 in val, .* number 0 of"),
        # Two have one name, as in ImageNet.
        (['crane', 'dog', 'eel', 'crane', 'ox'], None),
        (['crane', 'dog', 'eel', 'crane 2'], None),
        (['bird', 'dog'], None),
        (['a', 'b', 'c'], None),
    ],
)
def test_a_part_of_the_classes(classes, message, images):
    arguments = 'val', (1, 12, 12), [0], [255], classes
    with lend(val=Some(images, KINDS['bytes'])):
        if message is None:
            found = LentImages(*arguments)
            assert found.metainfo == dict(classes=tuple(classes))
            return
        with pytest.raises(ValueError, match=message):
            LentImages(*arguments)


def test_grey_arrays_of_another_size():
    """With a channel of their own, which PIL has no mode for."""
    grey = np.arange(24 * 24, dtype=np.uint8).reshape(24, 24)
    found = []
    for image in (grey, grey[:, :, None]):
        with lend(val=[(image, 0)]):
            item = LentImages('val', (1, 12, 12), [0], [255])[0]
        found.append(item['inputs'])
    assert found[0].shape == (1, 12, 12) and torch.equal(*found)


@pytest.mark.parametrize(
    'item, message',
    [
        (torch.zeros(1, 12, 12), 'should be .image, label.'),
        ((torch.zeros(1, 12, 13), 0), 'is .1, 12, 13., but image_shape'),
        ((torch.full((1, 12, 12), torch.nan), 0), 'has NaN or Inf'),
        ((torch.full((1, 12, 12), torch.inf), 0), 'has NaN or Inf'),
        ((torch.full((1, 12, 12), 99.0), 0), 'within 99..99: give images as'),
        ((np.full((12, 12, 3), -99.0), 0), 'within -99..-99: give images as'),
        ((np.zeros(144), 0), 'Images of val should be .* 1 dimensions'),
        ((np.full((12, 12), 300), 0), 'within 0..255, but one is within 300'),
        (('a.png', 0), 'Images of val should be .* but got a str'),
        # Bytes of other channels, and what Pillow would clip to 8 bits.
        ((np.zeros((12, 12, 3), np.uint8), 0), 'is .12, 12, 3., but image_sh'),
        ((np.zeros((1, 24, 24), np.uint8), 0), 'is .1, 24, 24., but image_s'),
        ((Image.new('I', (12, 12), 300), 0), 'but one is within 300..300'),
        ((Image.new('F', (12, 12), torch.nan), 0), 'has NaN or Inf'),
        ((Image.new('RGBA', (12, 12), (9, 9, 9, 0)), 0), 'it is transparent'),
        ((Image.new('LA', (12, 12), (9, 254)), 0), 'it is transparent'),
    ],
)
def test_other_items(item, message):
    with lend(val=[item] * 3):
        with pytest.raises((TypeError, ValueError), match=message):
            LentImages('val', (1, 12, 12), [0], [255])[0]


WHITE = torch.ones(1, 12, 12)
GREY = [127.5], [64.0]  # mean and std, which bring images to -2..2


@pytest.mark.parametrize('white', [WHITE * 1.0000002, WHITE.bfloat16() * 1.01])
def test_a_rounding_beyond_1_is_no_input(white):
    """``Resize`` of tensors rounds: white comes out above 1."""
    with lend(val=[(white, 0), (WHITE / 2, 1)]):
        found = LentImages('val', (1, 12, 12), *GREY)
        assert white.max() > 1 and not found.normalised
        assert (found[0]['inputs'] == 255).all()
        assert (found[1]['inputs'] == 127.5).all()


def test_images_that_overshoot_may_be_inputs():
    items = [(WHITE * 1.04, 0), (WHITE * -0.06, 1)]
    with lend(val=items):
        message = r'within -0.06..1.04: .* to -1.99..1.99. Clamp them to 0..1'
        with pytest.raises(ValueError, match=message):
            LentImages('val', (1, 12, 12), *GREY)
        # The same either way.
        found = LentImages('val', (1, 12, 12), [0], [255])[0]['inputs']
        assert torch.allclose(found, torch.tensor(1.04 * 255))


def test_a_dark_image_in_0_to_255_before_others():
    items = [(WHITE * 8, 0), (WHITE * 30, 1), (WHITE * 250, 1)]
    with lend(val=items):
        found = LentImages('val', (1, 12, 12), [33.3], [78.6])
        with pytest.raises(ValueError, match='one .* is within 250..250'):
            found[2]


def test_images_beyond_0_to_1_that_were_not_looked_at():
    seen = folder_images._spread(200, 64)
    light, dark, far = sorted({*range(200)} - {*seen})[:3]
    items = [(WHITE, 0)] * 200
    for place, value in {light: 1.04, dark: -0.06, far: -2}.items():
        items[place] = WHITE * value, 0
    with lend(val=items):
        found = LentImages('val', (1, 12, 12), *GREY)
        assert not found.normalised
        assert (found[light]['inputs'] == 255).all()
        assert (found[dark]['inputs'] == 0).all()
        with pytest.raises(ValueError, match='within -2..-2, and others are'):
            found[far]


@pytest.mark.parametrize(
    'name', ['uint8', 'int8', 'int16', 'int32', 'uint16', 'uint32']
)
def test_tensors_of_any_integers(name):
    kind = getattr(torch, name, None)
    if kind is None:
        pytest.skip('this torch has no such type')
    items = [(torch.full((1, 12, 12), 5, dtype=kind), 0)]
    if not name.endswith('int8'):
        items.append((torch.full((1, 12, 12), 256, dtype=kind), 0))
    with lend(val=items):
        found = LentImages('val', (1, 12, 12), [0], [255])
        assert (found[0]['inputs'] == 5).all()
        assert found[0]['inputs'].dtype == torch.uint8
        for index in range(1, len(items)):
            with pytest.raises(ValueError, match='one is within 256..256'):
                found[index]


def test_pictures_of_many_bits():
    """Of 16, as bright as they were; of floats, as arrays of them."""
    deep = np.full((12, 12), 100 * 257, np.uint16)
    for image in (deep, np.full((12, 12), 100 / 255, np.float32)):
        with lend(val=[(Image.fromarray(image), 0)]):
            found = LentImages('val', (1, 12, 12), [0], [255])[0]['inputs']
        assert (found.float() - 100).abs().max() < 1e-3


@pytest.mark.parametrize('channels', [2, 5])
@pytest.mark.parametrize('size', [12, 24])
def test_images_of_many_channels(channels, size):
    """Pillow scales some; a folder has none."""
    image = np.zeros((size, size, channels), np.uint8)
    for item in (image, Image.new('RGB', (12, 12))):
        with lend(val=[(item, 0)]):
            found = LentImages('val', (channels, 12, 12), [0], [255])
            if item is image and (channels == 2 or size == 12):
                assert found[0]['inputs'].shape == (channels, 12, 12)
                continue
            with pytest.raises(ValueError, match='An image of val is .*, but'):
                found[0]


@pytest.mark.parametrize(
    'label, remedy', [(-1, 'leave out'), (3, 'labels count'), (7, 'leave')]
)
def test_labels_beyond_the_classes(label, remedy, teacher, net, call):
    items = [(torch.zeros(1, 12, 12), each) for each in (1, label)]
    message = f'val has the label {label}, but .*: {remedy}'
    with pytest.raises(ValueError, match=message):
        call(teacher, net(4), val=items)


@pytest.mark.parametrize(
    'label', ['cat', '1', 1.5, None, torch.tensor([0, 1, 0]), [1]]
)
def test_labels_that_are_no_places(label):
    with lend(val=[(torch.zeros(1, 12, 12), label)]):
        with pytest.raises(TypeError, match='Labels of val should be integ'):
            LentImages('val', (1, 12, 12), [0], [255])[0]


class Stream(IterableDataset):
    """Images that have neither a number nor an order."""

    classes = np.array(['a', 'b'])

    def __iter__(self):
        return iter([(torch.zeros(1, 12, 12), np.int64(n)) for n in (0, 1)])


class Numbered(Stream):
    """A stream that knows how many there are."""

    def __len__(self):
        return 2


def test_a_stream_has_classes_and_may_have_a_length():
    for stream in (Stream(), Numbered()):
        with lend(val=stream):
            found = LentImages('val', (1, 12, 12), [0], [255])
        assert len(found) == 2
        assert [*found.metainfo['classes']] == ['a', 'b']


@pytest.mark.parametrize(
    'wrap',
    [
        lambda stream: stream,
        DataLoader,
        lambda stream: DataLoader(stream, batch_size=None),
    ],
)
def test_a_stream(wrap):
    with lend(val=wrap(Stream())):
        found = LentImages('val', (1, 12, 12), [0], [255])
        assert [int(f['data_samples'].gt_label) for f in found] == [0, 1]


@pytest.mark.parametrize(
    'sizes, said',
    [
        ([(8, 16)], ''),
        ([], ''),
        (
            [(4, 8)],
            r'^images of val \(4x8, height by width\) are scaled to 8x16',
        ),
        (
            [(8, 16), (9, 16), (8, 8), (9, 9), (7, 7)],
            r'\(7x7, 8x8, 9x9, ..., height by width\) .* is cut off$',
        ),
        # Some are swapped, as photographs are.
        (
            [(8, 16), (16, 8), (8, 16)],
            r'^1 of 3 images of val \(16x8, .* off$',
        ),
    ],
)
def test_what_becomes_of_other_sizes(sizes, said):
    found = about_sizes('val', sizes, (3, 8, 16))
    assert re.search(said, found) and bool(said) == bool(found)


@pytest.mark.parametrize('kind', ['folder', 'pictures', 'arrays'])
def test_height_and_width_swapped(kind, teacher, net, call, tmp_path):
    """All images of val are as wide as they should be high."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 12, 24), np.uint8)
    labels = [index % 3 for index in range(20)]
    if kind == 'folder':
        val = tmp_path / 'val'
        for index, label in enumerate(labels):
            (val / 'abc'[label]).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(pixels[index])
            picture.save(val / 'abc'[label] / f'{index}.png')
    else:
        form = KINDS['picture' if kind == 'pictures' else 'array']
        val = Pairs((pixels, labels), form)
    message = r'val.* 12x24, height by width, but image_shape=\(1, 24, 12\)'
    with pytest.raises(ValueError, match=message):
        call(teacher, net(4), val=val, image_shape=(1, 24, 12))
    assert not [*(tmp_path / 'run').glob('*.py')]


def test_swapped_at_another_scale():
    with pytest.raises(ValueError, match='16x8, 64x32, height by width, but'):
        about_sizes('val', [(64, 32), (16, 8)], (3, 8, 16))


def test_images_of_another_size_are_told_of(
    teacher, net, call, images, capsys
):
    pixels = np.pad(images[0], ((0, 0), (0, 0), (3, 3)))
    val = Pairs((pixels, images[1]), KINDS['picture'])
    call(teacher, net(4), val=val, plan_only=True)
    told = capsys.readouterr().out
    assert 'images of val (12x18, height by width) are scaled to 12x12' in told


def test_pictures_of_any_kind_and_size(tmp_path):
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
    Image.new('RGB', (20, 10), (255, 0, 0)).save(tmp_path / 'cat/a.png')
    Image.new('L', (8, 8), 100).save(tmp_path / 'dog/b.png')
    colour = FolderImages(str(tmp_path), (3, 8, 16))
    assert colour.metainfo == dict(classes=('cat', 'dog'))
    assert [tuple(each['inputs'].shape) for each in colour] == [(3, 8, 16)] * 2
    assert colour[0]['inputs'].flatten(1).float().mean(1).tolist() == [
        255,
        0,
        0,
    ]
    with pytest.raises(ValueError, match='are read as grey or RGB, but the'):
        FolderImages(str(tmp_path), (4, 8, 8))
    grey = FolderImages(str(tmp_path), (1, 8, 8), classes=['dog', 'cat'])
    assert [int(each['data_samples'].gt_label) for each in grey] == [1, 0]
    assert grey[1]['inputs'].unique().tolist() == [100]


@pytest.mark.parametrize(
    'mean, std, expected, said',
    [
        (None, None, ([0], [255]), 'no mean is given'),
        ('inside', 'inside', ([0], [255]), 'no mean is given'),
        (0.5, 0.5, ([127.5], [127.5]), 'images in 0..1'),
        ([0.5], (0.25,), ([127.5], [63.75]), 'images in 0..1'),
        ([0, 0, 0], [1, 1, 1], ([0] * 3, [255] * 3), 'give std=1/255'),
        (0, 1 / 255, ([0], [1]), 'images in 0..1'),
        (0, 255, ([0], [255]), 'images in 0..255'),
        ([100, 110, 120], [1, 1, 1], ([100, 110, 120], [1] * 3), '0..255'),
        (torch.tensor([0.5]), np.array([0.5]), ([127.5], [127.5]), '0..1'),
        (np.full(3, 0.5), torch.ones(3), ([127.5] * 3, [255] * 3), '0..1'),
    ],
)
def test_what_mean_and_std_refer_to(mean, std, expected, said):
    found = normalisation(mean, std, (3, 8, 8))
    assert (list(found.mean), list(found.std)) == expected
    assert said in found.note


WRONG = dict(
    scale=(dict(mean=-0.9, std=0.1), 'mean and std .images in 0..1'),
    order=(dict(classes=['c', 'a', 'b']), 'class order'),
)


@pytest.mark.parametrize('name', WRONG)
def test_a_teacher_at_chance(name, teacher, net, call, tmp_path):
    """Nothing is begun, for the suspect was found by trying."""
    arguments, suspect = WRONG[name]
    said = (
        f'at chance .* chance is 33.3 %.*Suspects: .*{suspect}.* without val'
    )
    with pytest.raises(ValueError, match=said):
        call(teacher, net(4), budget=4, **arguments)
    assert not [*(tmp_path / 'run').glob('*.py')]


def test_a_teacher_that_would_be_better(teacher, net, call):
    """Above chance, so that nothing but its accuracy tells."""
    run = call(teacher, net(4), budget=4, mean=0.25, std=0.3)
    assert 40 < run.teacher_top1 < 75
    (told,) = (text for text in run.warnings if 'after a change' in text)
    assert re.search(r'of these images fit better: mean=\[.*\]\), 100', told)


def test_val_without_images_of_some_classes(
    images, teacher, net, call, capsys
):
    pixels, labels = images
    shown = [index for index, label in enumerate(labels) if label != 1]
    val = Subset(Pairs(images, KINDS['bytes']), shown)
    call(teacher, net(4), val=val, plan_only=True)
    said = 'WARNING: val has images of 2 of the 3 classes alone'
    assert capsys.readouterr().out.count(said) == 1


@pytest.mark.parametrize('val', [True, False])
def test_forgotten_weights(val, net, call, home, tmp_path, capsys):
    """With accuracy at chance nothing is begun; else the end repeats it."""
    torch.manual_seed(0)
    arguments = dict(budget=4, val=str(home / 'val') if val else None)
    if val:
        with pytest.raises(ValueError, match='teacher was never trained: all'):
            call(net(16), net(4), **arguments)
        assert not [*(tmp_path / 'run').glob('*.py')]
        return
    student = nn.Sequential(net(4), nn.LogSoftmax(1))
    run = call(net(16), student, **arguments)
    (told,) = (text for text in run.warnings if 'never' in text)
    assert 'seems never to have been trained' in told
    (log,) = run.work_dir.glob('*/*.log')
    assert 'was never trained' in log.read_text()
    printed = capsys.readouterr().out
    assert 'was never trained' not in printed
    # What is told of the arguments is not told again by the run.
    shown = [*run.warnings, *printed.splitlines()]
    assert sum('log-probabilities' in text for text in shown) == 2
    # It shows a sentence of each epoch, and no table or file of the trial.
    assert 'Epoch 1: the student decides like the teacher for' in printed
    assert 'Agreement of epoch' not in printed
    assert 'Loads checkpoint' not in printed
    assert 'Rates: architecture.lr 0.1.\n' in printed
    assert '  student: 1 epoch of 1 round and 4 steps of 8' in printed
    said = printed.split('WARNING: the teacher seems')
    assert said[-2].endswith('As was said before training: ')


def counted(confusion):
    """Answers with such counts."""
    labels, said = confusion.nonzero().t()
    counts = confusion[labels, said]
    return Answers(
        *(each.repeat_interleave(counts) for each in (labels, said)),
        len(confusion),
    )


def answers_of(right, classes=10, images=1000):
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    confusion += images * (100 - right) // 100 // classes // (classes - 1)
    confusion.fill_diagonal_(images * right // 100 // classes)
    return counted(confusion)


@pytest.mark.parametrize(
    'answered, said',
    [
        (
            [1, 2, 3, 0],
            'the class order .with another one, 80 % would be right',
        ),
        ([0, 1, 2, 3], '$'),
        # Several are taken for one, which no order mends.
        ([0, 3, 3, 3], '$'),
        ([0, 9, 2, 3, 9, 5, 6, 7, 8, 9], '$'),
    ],
)
def test_doubt_of_order(answered, said):
    confusion = torch.full([len(answered)] * 2, 5)
    for label, answer in enumerate(answered):
        confusion[label, answer] = 60
    found = counted(confusion)
    assert re.match(said, doubt_of_order(found))
    # Of labels, names could not change the order.
    told = doubt_of_order(found, dict(classes=[*'abcdefghij']), True)
    assert bool(told) == (said != '$') and 'classes=' not in told
    assert told.endswith('mapping=[1, 2, 3, 0]') == bool(told)
    mapping = [1, 2, 3, 0]
    if told:
        mended = torch.zeros_like(confusion)
        for label, place in enumerate(mapping):
            mended[place] = confusion[label]
        assert counted(mended).top1 == pytest.approx(80)
        assert not doubt_of_order(counted(mended), None, True)


@pytest.mark.parametrize(
    'images, swapped, said',
    [
        (60, True, r".*right.*, classes=\['a', 'b', 'c', 'd', 'f', 'e'\]"),
        (60, False, '$'),
        (5, True, '$'),  # too few to tell
    ],
)
def test_the_order_that_is_told(images, swapped, said):
    """Of classes that a teacher mixes up, although it is good."""
    confusion = torch.diag(torch.tensor([100, 100, 100, 100, 10, 10]))
    confusion[4, 5] = confusion[5, 4] = 30 if swapped else 9
    confusion = confusion * images // 100
    found = counted(confusion)
    assert found.top1 > 75
    assert re.match(said, doubt_of_order(found, dict(classes=[*'abcdef'])))
    long = [f'a class {"with a long name " * 9}{c}' for c in 'abcdef']
    told = doubt_of_order(found, dict(classes=long))
    assert told.endswith('classes=[...]') == bool(told)


def test_what_one_answer_explains():
    """Nine of ten images are of one class, and a change says that of all."""
    found = counted(torch.tensor([[20, 430], [10, 40]]))
    own, other = torch.zeros(2, 500, dtype=torch.bool)
    own[:60] = other[50:] = True
    assert found.top1_of_one == 90
    assert not is_better(own, other, 90.0, True)
    assert is_better(own, torch.ones_like(own), 90.0, True)


@pytest.mark.parametrize(
    'both, lost, gained, is_low, expected',
    [
        (850, 10, 60, False, True),
        (850, 60, 10, False, False),
        (850, 0, 30, False, False),  # points that are not worth it
        (850, 0, 31, False, True),
        (85, 1, 6, False, False),  # chance explains it
        (700, 100, 150, False, False),
        (400, 0, 101, True, True),
        (400, 0, 100, True, True),  # chance does not explain it
        (250, 300, 385, True, False),
        (250, 300, 401, True, True),
        (100, 0, 120, True, False),  # close to chance in any case
    ],
)
def test_a_gain_that_is_told(both, lost, gained, is_low, expected):
    """Of 1000 images, or 100, and ten classes."""
    total = 1000 if both > 99 else 100
    own, other = torch.zeros(2, total, dtype=torch.bool)
    own[: both + lost] = True
    other[:both] = True
    other[both + lost : both + lost + gained] = True
    assert is_better(own, other, 10.0, is_low) == expected


@pytest.mark.parametrize(
    'found, image_seconds, seconds, expected',
    [
        (answers_of(90), 1e-6, 0, 1000),
        (answers_of(90), 30 / 8 / 700, 0, 700),
        (answers_of(90), 1 / 8 / 400, 1, 400),
        (answers_of(90), 1, 0, 0),
        # It is worth the time.
        (answers_of(40), 1, 0, 300),
        (answers_of(10), 1, 0, 300),
        (answers_of(10), 1e-6, 0, 1000),
    ],
)
def test_how_many_images_are_tried(found, image_seconds, seconds, expected):
    """Of a good teacher, as many as take no time worth mentioning."""
    assert abs(how_many(found, image_seconds, seconds) - expected) <= 1


def test_a_good_teacher_that_would_be_better():
    """BGR, and right for four of five images."""
    labels = torch.arange(1000) % 2
    pixels = torch.zeros(1000, 3, 4, 4, dtype=torch.uint8)
    # Colour tells the class of one in five, and light that of the others.
    pixels[torch.arange(1000), 2 * labels] = 200
    pixels[:800] = (50 + 150 * labels[:800]).to(torch.uint8).view(-1, 1, 1, 1)

    class BGR(nn.Module):
        def forward(self, inputs, **_):
            blue, _, red = inputs.mean((2, 3)).unbind(1)
            value = torch.where(blue == red, red - 0.5, blue - red)
            return torch.stack([-value, value], 1)

    samples = [
        dict(inputs=image, data_samples=DataSample().set_gt_label(int(label)))
        for image, label in zip(pixels, labels)
    ]
    loader = DataLoader(samples, 100, collate_fn=pseudo_collate)
    preprocess = BankDataPreprocessor(
        mean=[0.0] * 3, std=[255.0] * 3, num_classes=2
    )
    found = answers(BGR(), loader, preprocess, 2)
    assert found.top1 == 80
    told = suspects(BGR(), loader, preprocess, found, 1000)
    assert 'the channel order (BGR fits better), 100.0 %' in told


def test_answers_of_very_many_classes():
    """A matrix of those of ImageNet-21k would have 4 GB."""
    classes = 21841

    class First(nn.Module):
        def forward(self, inputs, **_):
            logits = torch.zeros(len(inputs), classes)
            logits[:, 7] = 1
            return logits

    samples = [
        dict(
            inputs=torch.zeros(1, 4, 4, dtype=torch.uint8),
            data_samples=DataSample().set_gt_label(label),
        )
        for label in (7, 20000, 20000, 7, 20000)
    ]
    loader = DataLoader(samples, 2, collate_fn=pseudo_collate)
    preprocess = BankDataPreprocessor(
        mean=[0.0], std=[255.0], num_classes=classes
    )
    found = answers(First(), loader, preprocess, classes)
    kept = [v.numel() for v in vars(found).values() if torch.is_tensor(v)]
    assert max(kept) == 5
    assert (found.images, found.top1, found.top1_of_one) == (5, 40, 60)
    assert found.of_classes.nonzero().flatten().tolist() == [7, 20000]
    assert not doubt_of_order(found)


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0

    def __eq__(self, other):
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize('kind', ['folder', 'data set'])
def test_names_of_many_classes_are_not_compared_with_all(kind, tmp_path):
    names = [f'class {index:03d}' for index in range(200)]
    classes = [*map(Counted, names)]
    Counted.compared = 0
    if kind == 'folder':
        for name in names:
            (tmp_path / name).mkdir()
            Image.new('L', (8, 8)).save(tmp_path / name / 'a.png')
        FolderImages(str(tmp_path), (1, 8, 8), 200, classes)
    else:
        items = folder_images._Listed([(torch.zeros(1, 8, 8), 0)], names)
        with lend(val=items):
            LentImages('val', (1, 8, 8), [0], [255], classes)
    assert Counted.compared <= 10 * len(names)


@pytest.mark.parametrize(
    'found, new, helpful, said',
    [
        (answers_of(10), '', [], 'WARNING: .*chance.*the weights'),
        (answers_of(40), '', ['x, 90 %'], 'WARNING: .* 42.6 %.*Suspects: x'),
        (answers_of(40), 'n', [], '  if it had more in training'),
        (answers_of(60), 'n', [], '$'),
        (answers_of(70, 2), 'n', [], '$'),
    ],
)
def test_doubts(found, new, helpful, said):
    assert re.match(said, doubts_of(found, new, helpful))


class OneAnswer(torch.nn.Module):
    """Says of light images which class they are, and 0 of all others."""

    def forward(self, inputs, **_):
        value = inputs.flatten(1).amax(1)
        return torch.nn.functional.one_hot(
            torch.where(value > 2, value.long().clamp(max=11), 0), 12
        ).float()


@pytest.mark.parametrize('scale', [1, 300])
@pytest.mark.parametrize('in_turn', [False, True])
def test_suspects_are_tried_on_all_classes(scale, in_turn):
    """In order of the classes, the first thousand are of one, and in turn
    every twelfth, so that one answer to all looked right."""
    labels = torch.arange(12).repeat(1000)
    if not in_turn:
        labels = labels.sort()[0]
    pixels = labels.to(torch.uint8).view(-1, 1, 1, 1)
    samples = [
        dict(inputs=image, data_samples=DataSample().set_gt_label(int(label)))
        for image, label in zip(pixels, labels)
    ]
    loader = DataLoader(samples, 500, collate_fn=pseudo_collate)
    preprocess = BankDataPreprocessor(mean=[0.0], std=[scale], num_classes=12)
    found = answers(OneAnswer(), loader, preprocess, 12)
    suspected = suspects(OneAnswer(), loader, preprocess, found, 1000)
    if scale == 1:
        assert found.top1 > 80
        assert not any('fit better' in each for each in suspected)
    else:
        assert found.top1 == pytest.approx(100 / 12)
        (suspected,) = suspected
        assert suspected.startswith('mean and std (images in 0..255 fit')


class Contrast(nn.Module):
    """Tells whether neighbours differ, which scaling evens out."""

    def __init__(self, side=None):
        super().__init__()
        self.side = side

    def forward(self, inputs, **_):
        if self.side and inputs.shape[-1] != self.side:
            raise ValueError('other images')
        differ = (inputs.diff(dim=-1).abs().mean((1, 2, 3)) > 0.2).long()
        return nn.functional.one_hot(differ, 2).float()


@pytest.mark.parametrize('kind', ['folder', 'pictures', 'arrays'])
@pytest.mark.parametrize('larger', [2, 4])
def test_pictures_that_should_not_have_been_scaled(kind, larger, tmp_path):
    side = 8 * larger
    pixels = np.full((80, side, side), 100, np.uint8)
    pixels[40:, :, ::2], pixels[40:, :, 1::2] = 0, 200
    labels = [0] * 40 + [1] * 40
    for number, (image, label) in enumerate(zip(pixels, labels)):
        path = tmp_path / f'{label}/{number}.png'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path)

    def told_of(teacher, side):
        shape = 1, side, side
        if kind == 'folder':
            val = FolderImages(str(tmp_path), shape)
        else:
            transform = np.asarray if kind == 'arrays' else Image.fromarray
            with lend(val=Pairs((pixels, labels), transform)):
                val = LentImages('val', shape, [0.0], [255.0])
        loader = DataLoader(val, 10, collate_fn=pseudo_collate)
        preprocess = BankDataPreprocessor(
            mean=[0.0], std=[255.0], num_classes=2
        )
        found = answers(teacher, loader, preprocess, 2)
        told = suspects(teacher, loader, preprocess, found)
        # What was tried has changed nothing.
        assert answers(teacher, loader, preprocess, 2).top1 == found.top1
        return found.top1, [each for each in told if 'image_shape' in each]

    name = (
        f'image_shape (images fit better as they are: image_shape=(1, {side}'
    )
    top1, (told,) = told_of(Contrast(), 8)
    assert top1 == 50 and told.startswith(name) and told.endswith('100.0 %')
    assert told_of(Contrast(), side) == (100, [])
    assert told_of(Contrast(8), 8) == (50, [])
    # Of several sizes, none is theirs.
    pixels = [*pixels[:-1], pixels[-1][:8, :8]]
    Image.fromarray(pixels[-1]).save(path)
    assert told_of(Contrast(), 8)[1] == []


class Widths(Contrast):
    """Notes how wide the images are that it gets."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def forward(self, inputs, **_):
        self.seen.add(inputs.shape[-1])
        return super().forward(inputs)


@pytest.mark.parametrize('side, is_tried', [(40, True), (56, False)])
def test_pictures_that_are_too_large_to_be_tried(side, is_tried):
    """As photos, of which the time and memory is there for a few alone."""
    pixels = torch.zeros(80, side, side, dtype=torch.uint8).numpy()
    with lend(val=Pairs((pixels, [0, 1] * 40), Image.fromarray)):
        val = LentImages('val', (1, 8, 8), [0.0], [255.0])
    loader = DataLoader(val, 10, collate_fn=pseudo_collate)
    preprocess = BankDataPreprocessor(mean=[0.0], std=[255.0], num_classes=2)
    teacher = Widths()
    found = answers(teacher, loader, preprocess, 2)
    suspects(teacher, loader, preprocess, found)
    assert teacher.seen == ({8, side} if is_tried else {8})


def test_a_folder_of_folders(teacher, net, call, home, tmp_path):
    """One above the right one; nothing has been begun."""
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/test').symlink_to(home / 'val')
    with pytest.raises(ValueError, match=r"val='.*, give .*/test\.") as caught:
        call(teacher, net(4), val=str(tmp_path / 'data'))
    assert 'is a folder within the folder of a class' in str(caught.value)
    assert not (tmp_path / 'run').exists()


def test_nothing_to_measure_with(teacher, net, call):
    run = call(teacher, net(4), val=None, budget=4)
    assert run.top1 is None and run.teacher_top1 is None
    assert (run.work_dir / 'student/student.pth').is_file()


def test_a_users_data_set(teacher, net, call, images, home, tmp_path):
    """The same figure as of the folder, and the same weights."""
    one = call(teacher, net(4), budget=4, val=Pairs(images, KINDS['in 0..1']))
    others = Pairs((images[0], images[1][::-1]), KINDS['in 0..1'])
    with pytest.raises(ValueError, match='val with other images or labels'):
        call(teacher, net(4), budget=4, val=others)
    shutil.rmtree(tmp_path / 'run')
    other = call(teacher, net(4), budget=4)
    assert one.teacher_top1 == other.teacher_top1


def test_labels_that_are_no_classes(teacher, net, call, images):
    pairs = Pairs((images[0], [9] * 30), KINDS['bytes'])
    with pytest.raises(ValueError, match='the label 9.* tell 3 classes'):
        call(teacher, net(4), budget=4, val=pairs)


def test_no_order_is_looked_for_among_too_many_classes(monkeypatch):
    confusion = torch.full((4, 4), 5)
    confusion[[0, 1, 2, 3], [1, 2, 3, 0]] = 60
    assert doubt_of_order(counted(confusion))
    monkeypatch.setattr(doubts, '_ORDERED', 3)
    assert not doubt_of_order(counted(confusion))


def test_a_loader_with_a_sampler_of_batches():
    """It may leave images out."""
    data = [(torch.zeros(1, 12, 12), n % 2) for n in range(6)]
    loader = DataLoader(data, batch_sampler=[[0, 1], [3]])
    with lend(val=loader):
        assert len(LentImages('val', (1, 12, 12), [0], [255])) == 3

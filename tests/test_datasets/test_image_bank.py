# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import time
from datetime import timedelta

import numpy as np
import pytest
import torch
from helpers import exit_codes
from mmrazor.registry import DATASETS
from PIL import Image
from torch.utils.data import DataLoader

from csd_mmrazor.datasets import (
    BankError,
    BankFolder,
    BankSampler,
    ImageBank,
    bank_collate,
    bank_folder,
    image_bank,
    init_pictures,
    pictures,
)
from csd_mmrazor.datasets.bank_folder import IMPORTED, INITIAL, TargetKind

SHAPE = (3, 4, 4)


def fill(bank, rounds=3, num=20, epoch=INITIAL):
    for index in range(rounds):
        images = torch.randint(256, (num, *SHAPE), dtype=torch.uint8)
        bank.append(images, torch.randint(10, (num,)), epoch, index)


@pytest.fixture
def bank(tmp_path):
    bank = ImageBank()
    bank.open(tmp_path / 'bank', SHAPE, 10)
    fill(bank)
    return bank


def everything(bank):
    batch = bank.__getitems__(list(range(len(bank))))
    return batch['inputs'], batch['labels']


def test_a_finished_bank_of_other_classes(tmp_path):
    bank = ImageBank()
    bank.open(tmp_path / 'bank', SHAPE, 2, ['cat', 'dog'])
    images = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    bank.append(images, torch.tensor([0, 1]), INITIAL, 0)
    root = str(tmp_path / 'bank')
    for names in (None, ('cat', 'dog')):
        found = ImageBank(root, metainfo=names and dict(classes=names))
        assert found.metainfo == dict(classes=('cat', 'dog'))
    with pytest.raises(BankError, match="Class 0 .* 'cat', but 'dog' here"):
        ImageBank(root, metainfo=dict(classes=['dog', 'cat']))


@pytest.mark.parametrize('storage', ['host', 'device', 'disk'])
def test_storages_hold_the_same(bank, storage):
    other = ImageBank(storage=storage)
    other.open(bank.folder.path, SHAPE, 10)
    indices = torch.randint(len(bank), (50,)).tolist()
    for key, value in bank.__getitems__(indices).items():
        assert torch.equal(other.__getitems__(indices)[key].cpu(), value)
    assert np.array_equal(other.labels(), bank.labels())
    fill(other, 1, epoch=0)
    assert len(other) == 80
    assert torch.equal(everything(other)[0][:60].cpu(), everything(bank)[0])


def test_items(bank):
    images, labels = everything(bank)
    assert len(bank) == 60
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64
    item = bank[7]
    assert torch.equal(item['inputs'], images[7])
    assert item['labels'] == labels[7]


def test_grows_in_memory_beyond_what_was_reserved(bank):
    bank.reserve(65)
    first = everything(bank)[0].clone()
    fill(bank, 5, epoch=0)
    assert len(bank) == 160
    assert torch.equal(everything(bank)[0][:60], first)


@pytest.mark.parametrize(
    'capacity, limit, most', [(50, 1000, 60), (None, 110, 110)]
)
def test_no_room_for_images_that_will_not_be_there(
    tmp_path, capacity, limit, most
):
    """On a GPU, room that nothing is in takes memory all the same."""
    limit *= np.prod(SHAPE) / 2**30
    bank = ImageBank(capacity=capacity, memory_limit=limit)
    bank.open(tmp_path / 'bank', SHAPE, 10)
    sizes = []
    for epoch in range(6):
        if type(bank._store).__name__ == 'MemoryStore':
            fill(bank, 1, epoch=epoch)
            sizes.append(len(bank._store._columns['inputs']))
    assert max(sizes) == most


def test_is_read_from_disk_above_the_limit(tmp_path):
    size = np.prod(SHAPE)
    bank = ImageBank(memory_limit=50 * size / 2**30)
    bank.open(tmp_path / 'bank', SHAPE, 10)
    bank.reserve(10**9)  # of which 50 fit
    assert len(bank._store._columns['inputs']) == 50
    fill(bank, 2)
    assert type(bank._store).__name__ == 'MemoryStore'
    before = everything(bank)[0].clone()
    fill(bank, 1, epoch=0)
    assert type(bank._store).__name__ == 'DiskStore'
    assert torch.equal(everything(bank)[0][:40], before)
    fill(bank, 1, epoch=1)
    assert len(everything(bank)[0]) == 80


def test_a_loader_gets_whole_batches(bank):
    loader = DataLoader(
        bank,
        batch_size=16,
        sampler=BankSampler(bank, num_samples=100, seed=0),
        collate_fn=bank_collate,
    )
    batches = list(loader)
    assert [len(b['inputs']) for b in batches] == [16] * 6 + [4]
    images, labels = everything(bank)
    lookup = {i.numpy().tobytes(): n for i, n in zip(images, labels)}
    for batch in batches:
        for image, label in zip(batch['inputs'], batch['labels']):
            assert lookup[image.numpy().tobytes()] == label


@pytest.mark.parametrize('num_workers', [1, 2])
def test_workers_see_what_was_appended_before_the_epoch(bank, num_workers):
    loader = DataLoader(
        bank,
        batch_size=20,
        num_workers=num_workers,
        sampler=BankSampler(bank, num_samples=200, seed=0),
        collate_fn=bank_collate,
        multiprocessing_context='fork',
    )
    for epoch in range(2):
        seen = torch.cat([b['inputs'] for b in loader]).flatten(1)
        assert len(seen.unique(dim=0)) == len(bank)
        fill(bank, 1, epoch=epoch)


def test_collate_makes_data_samples(bank):
    batch = bank_collate(bank.__getitems__([3, 5]), data_samples=True)
    assert [s.gt_label.item() for s in batch['data_samples']] == bank.labels()[
        [3, 5]
    ].tolist()


@pytest.mark.parametrize('storage', ['host', 'disk'])
def test_files_of_other_nodes_may_come_late(tmp_path, monkeypatch, storage):
    """Before they are read from a network disk, they are waited for."""
    awaited = []
    module = 'csd_mmrazor.datasets.image_bank'
    monkeypatch.setattr(f'{module}._await', awaited.append)
    bank = ImageBank(storage=storage)
    bank.open(tmp_path / 'bank', SHAPE, 10)
    fill(bank, rounds=2)
    assert bool(awaited) == (storage == 'disk')
    assert all(path.exists() for path in awaited)


def test_keep(bank):
    fill(bank, 2, epoch=0)
    images = everything(bank)[0].clone()
    bank.keep([s for s in bank.folder.shards if s.epoch == INITIAL])
    assert len(bank) == 60
    assert torch.equal(everything(bank)[0], images[:60])


def test_starts_from_another_bank(bank, tmp_path):
    other = DATASETS.build(
        dict(type='mmrazor.ImageBank', init_bank=str(bank.folder.path))
    )
    other.open(tmp_path / 'other', SHAPE, 10)
    assert all(map(torch.equal, everything(other), everything(bank)))
    assert {s.epoch for s in other.folder.shards} == {IMPORTED}
    fill(other, 1, epoch=0)
    # Opened again, nothing is imported twice.
    again = ImageBank(init_bank=str(bank.folder.path))
    again.open(tmp_path / 'other', SHAPE, 10)
    assert len(again) == 80
    assert len(bank.folder.shards) == 3


def test_trains_on_a_finished_bank(bank):
    other = ImageBank(data_root=str(bank.folder.path))
    assert all(map(torch.equal, everything(other), everything(bank)))


@pytest.mark.parametrize('names', [tuple('0123'), ('cat', 'dog', 'eel')])
@pytest.mark.parametrize('channels', [1, 3])
def test_starts_from_a_folder_of_images(tmp_path, names, channels):
    rng = np.random.default_rng(0)
    expected = []
    for place, name in enumerate(names):
        (tmp_path / 'images' / name).mkdir(parents=True)
        label = int(name) if name.isdecimal() else place
        for number in range(3):
            image = rng.integers(0, 256, (4, 4, 3), np.uint8)
            if channels == 1:
                image[:] = image[..., :1]
            path = tmp_path / 'images' / name / f'{number}.png'
            Image.fromarray(image).save(path)
            image = image[..., :channels].transpose(2, 0, 1)
            expected.append((label, image.tobytes()))
    bank = ImageBank(init_bank=str(tmp_path / 'images'))
    bank.open(tmp_path / 'bank', (channels, 4, 4), len(names))
    images, labels = everything(bank)
    found = [(n.item(), i.numpy().tobytes()) for i, n in zip(images, labels)]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize('channels', [2, 4])
def test_channels_that_no_picture_has(tmp_path, channels):
    path = tmp_path / 'images/0/a.png'
    path.parent.mkdir(parents=True)
    Image.new('RGBA', (4, 4), (1, 2, 3, 255)).save(path)
    bank = ImageBank(init_bank=str(tmp_path / 'images'))
    with pytest.raises(BankError, match=f'{path} .* of {channels} channels'):
        bank.open(tmp_path / 'bank', (channels, 4, 4), 1)


@pytest.mark.parametrize('storage', ['host', 'disk'])
def test_no_images_have_no_labels(tmp_path, storage):
    bank = ImageBank(storage=storage)
    bank.open(tmp_path / 'bank', (1, 4, 4), 3)
    labels = bank.labels()
    assert labels.shape == (0,) and labels.dtype == np.int64


def test_images_without_labels(bank, tmp_path):
    """Whatever their folders say, the labels are the teacher's."""
    rng = np.random.default_rng(0)
    expected = {}
    for name in ('a.png', 'frogs/b.png', 'frogs/more/c.png', '1/d.png'):
        image = rng.integers(0, 256, (4, 4, 3), np.uint8)
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        expected[image.transpose(2, 0, 1).tobytes()] = int(image[0, 0, 0]) % 3
    (tmp_path / 'images/frogs/LICENSE.txt').touch()
    (tmp_path / 'images/.hidden').mkdir()
    (tmp_path / 'images/.hidden/e.png').touch()

    def labeller(images):
        assert images.dtype == torch.uint8
        return images[:, 0, 0, 0] % 3

    def start(where, root='images'):
        bank = ImageBank(init_bank=str(tmp_path / root), init_labels='teacher')
        bank.open(tmp_path / where, (3, 4, 4), 3, labeller=labeller)
        return bank

    images, labels = everything(start('new'))
    found = {i.numpy().tobytes(): n.item() for i, n in zip(images, labels)}
    assert found == expected
    assert labels.dtype == torch.int64
    again = everything(start('new'))
    assert all(torch.equal(a, b) for a, b in zip(again, (images, labels)))

    with pytest.raises(ValueError, match='.* is a bank, which has them'):
        start('x', 'new')
    (tmp_path / 'empty/folder').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match='no images in .*empty'):
        start('x', 'empty')
    (tmp_path / 'empty/folder/clip.mp4').touch()
    with pytest.raises(ValueError, match=r'clip\.mp4 is not an image'):
        start('x', 'empty')


def test_bad_imports(bank, tmp_path):
    def start(root, shape=SHAPE, num_classes=10):
        ImageBank(init_bank=str(root)).open(tmp_path / 'x', shape, num_classes)

    with pytest.raises(FileNotFoundError, match='init_bank=.*gone'):
        start(tmp_path / 'gone')
    with pytest.raises(BankError, match='num_classes=10, but 3'):
        start(bank.folder.path, num_classes=3)
    with pytest.raises(BankError, match='image_shape'):
        start(bank.folder.path, shape=(1, 4, 4))
    images = tmp_path / 'images'
    (images / '12').mkdir(parents=True)
    with pytest.raises(ValueError, match=r"\['12'\], do not match 10"):
        start(images)
    with pytest.raises(FileNotFoundError, match='no images in'):
        start(images, num_classes=20)
    Image.new('RGB', (4, 4)).save(images / '12' / 'a.png')
    with pytest.raises(ValueError, match='no folder 0, 1, 2'):
        start(images, num_classes=13)
    (images / '12').rename(images / '0')
    (images / '1').mkdir()
    Image.new('RGB', (4, 5)).save(images / '1' / 'a.png')
    with pytest.raises(BankError, match='a.png .* 4x5 pixels'):
        start(images, num_classes=2)
    Image.new('CMYK', (4, 4)).save(images / '1' / 'a.png', 'JPEG')
    with pytest.raises(ValueError, match='a.png cannot be read .*CMYK'):
        start(images, num_classes=2)
    # Nothing is left of those that could be read.
    assert len(BankFolder(tmp_path / 'x', SHAPE, 2)) == 0


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(storage='gpu'), 'storage .* but got .gpu'),
        (dict(memory_limit=0), 'memory_limit .* but got 0'),
        (dict(memory_limit='8'), "memory_limit .* but got '8'"),
        (dict(memory_limit=None), 'memory_limit .* but got None'),
        (dict(memory_limit=True), 'memory_limit .* but got True'),
        (dict(memory_limit=float('nan')), 'memory_limit .* but got nan'),
        (dict(link_init_bank=1), 'link_init_bank .* but got 1'),
        (dict(init_bank=''), "init_bank .* path .* but got ''"),
        (dict(init_bank=5), 'init_bank .* path .* but got 5'),
        (dict(data_root=5), 'data_root .* path .* but got 5'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ImageBank(**kwargs)


def test_memory_without_a_limit():
    assert ImageBank(memory_limit=float('inf')).memory_limit == float('inf')


def _start_late(path, source, rank):
    """As a process of two, whose second one is slow."""
    torch.distributed.init_process_group(
        'gloo',
        f'file://{path}.processes',
        timedelta(seconds=30),
        world_size=2,
        rank=rank,
    )
    if rank:
        time.sleep(1)
    bank = ImageBank(init_bank=source)
    bank.open(path, SHAPE, 10)
    assert len(bank) == 60
    os._exit(7)


def test_a_slow_process_imports_as_the_others_do(tmp_path):
    source = ImageBank()
    source.open(tmp_path / 'source', SHAPE, 10)
    fill(source)
    args = str(tmp_path / 'bank'), str(tmp_path / 'source')
    assert exit_codes(_start_late, *args) == [7, 7]


def _start_together(path, source, rank):
    """As a process of two; says how many files it brought."""
    torch.distributed.init_process_group(
        'gloo',
        f'file://{path}.processes',
        timedelta(seconds=30),
        world_size=2,
        rank=rank,
    )
    bring, brought = bank_folder._bring, []

    def noting(file, *args):
        brought.append(file)
        bring(file, *args)

    bank_folder._bring = noting
    bank = ImageBank(init_bank=source)
    try:
        bank.open(path, SHAPE, 10)
    except BankError:
        os._exit(10 + len(bank))
    os._exit(len(brought) if len(bank) == 60 else 9)


@pytest.mark.parametrize('damaged', [False, True])
def test_processes_share_the_copying_of_a_bank(tmp_path, damaged):
    source = ImageBank()
    source.open(tmp_path / 'source', SHAPE, 10)
    fill(source)
    if damaged:  # of which only one of them has to do with
        (tmp_path / 'source' / source.folder.shards[1].name).write_bytes(b'')
    args = str(tmp_path / 'bank'), str(tmp_path / 'source')
    expected = [10, 10] if damaged else [2, 1]
    assert exit_codes(_start_together, *args) == expected


def test_an_empty_bank_says_so(tmp_path):
    bank = ImageBank()
    assert len(bank) == 0
    bank.open(tmp_path / 'bank', SHAPE, 10)
    with pytest.raises(ValueError, match='image bank is empty.*init_rounds'):
        iter(BankSampler(bank, num_samples=10, seed=0))


def test_a_bank_that_is_not_open():
    with pytest.raises(BankError, match='not open: give it a data_root'):
        fill(ImageBank())


def test_old_images_are_dropped(tmp_path, monkeypatch):
    bank = ImageBank(capacity=45)
    bank.open(tmp_path / 'bank', SHAPE, 10)
    made, read = [], []
    # Nothing that is in memory is read again.
    monkeypatch.setattr(bank, '_read', read.append)
    for epoch, number in enumerate((20, 20, 20, 30, 50)):
        images = torch.randint(256, (number, *SHAPE), dtype=torch.uint8)
        bank.append(images, torch.zeros(number, dtype=torch.int64), epoch, 0)
        made.append(images)
        # The newest of which at least 45 are left, or all there are.
        expected = {0: 0, 1: 0, 2: 0, 3: 2, 4: 4}[epoch]
        assert torch.equal(everything(bank)[0], torch.cat(made[expected:]))
        files = sorted(path.name for path in tmp_path.glob('bank/*.npy'))
        assert files == [f'{n:06d}.npy' for n in range(expected, epoch + 1)]
        other = ImageBank(capacity=45)
        other.open(tmp_path / 'bank', SHAPE, 10)
        assert torch.equal(everything(other)[0], everything(bank)[0])
        assert torch.equal(everything(other)[1], everything(bank)[1])
    assert not read


def test_rounds_that_are_added_together_and_dropped(tmp_path):
    """As one process adds what others have made."""
    bank, counts = ImageBank(capacity=10), (4, 9, 3, 8)
    bank.open(tmp_path / 'bank', SHAPE, 10)
    for epoch in range(3):
        rounds, held = [], {}
        for index, number in enumerate(counts):
            columns = dict(
                inputs=torch.full((number, *SHAPE), index, dtype=torch.uint8),
                labels=torch.full((number,), index),
            )
            place = len(counts) * epoch + index
            made, kept = bank.write_round(columns, epoch, index, place, '')
            rounds.append(made)
            held.update({made.shard.name: kept} if index % 2 else {})
        bank.add_rounds(rounds, held)
        expected = torch.tensor([2] * 3 + [3] * 8)
        images, labels = everything(bank)[:2]
        assert torch.equal(labels, expected)
        assert torch.equal(images[:, 0, 0, 0].long(), expected)


def test_bad_capacity():
    with pytest.raises(ValueError, match='capacity of ImageBank .* got 0'):
        ImageBank(capacity=0)


def kind_of(views):
    return TargetKind('a' * 64, views, 'Crop' if views else '')


def targets_of(num, views, seed):
    """What can be told by the number of the image alone."""
    draws = torch.Generator().manual_seed(seed)
    shape = (num, views, 10) if views else (num, 10)
    found = dict(targets=torch.randn(shape, generator=draws).half())
    if views:
        size = (num, views, 3)
        found['draws'] = torch.randint(9, size, generator=draws).byte()
    return found


def fill_targets(bank, views):
    for seed, shard in enumerate(bank.expect_targets(kind_of(views))):
        found = targets_of(shard.count, views, seed)
        arrays = {name: value.numpy() for name, value in found.items()}
        bank.opened.add_targets(shard, arrays, write=True)
    bank.bring_targets()


@pytest.mark.parametrize('storage', ['host', 'device', 'disk'])
@pytest.mark.parametrize('views', [0, 2])
def test_storages_bring_the_same_targets(bank, storage, views):
    fill_targets(bank, views)
    other = ImageBank(storage=storage)
    other.open(bank.folder.path, SHAPE, 10)
    assert 'targets' not in other.__getitems__([0])
    assert other.expect_targets(kind_of(views)) == []
    other.bring_targets()
    images = torch.randint(256, (7, *SHAPE), dtype=torch.uint8)
    new = targets_of(7, views, 3)
    other.append(images, torch.zeros(7, dtype=torch.int64), 0, 0, new)
    indices = torch.randint(67, (90,)).tolist()
    batch = other.__getitems__(indices)
    names = ('targets', 'draws') if views else ('targets',)
    assert {*batch} == {'inputs', 'labels', *names}
    for name in names:
        each = [targets_of(20, views, seed)[name] for seed in range(3)]
        expected = torch.cat([*each, new[name]])[indices]
        assert batch[name].dtype == expected.dtype
        assert torch.equal(batch[name].cpu(), expected)
    assert len(other[7]['targets'].shape) == 1 + bool(views)


@pytest.mark.parametrize('views', [0, 1, 5])
def test_targets_count_for_the_limit_of_memory(tmp_path, views):
    size = np.prod(SHAPE) + (views * 23 if views else 20)
    bank = ImageBank(memory_limit=60 * size / 2**30)
    bank.open(tmp_path / 'bank', SHAPE, 10)
    fill(bank)
    fill_targets(bank, views)
    assert type(bank._store).__name__ == 'MemoryStore'
    before = bank.__getitems__([*range(60)])
    images = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    new = targets_of(1, views, 0)
    bank.append(images, torch.zeros(1, dtype=torch.int64), 0, 0, new)
    assert type(bank._store).__name__ == 'DiskStore'
    for name, value in bank.__getitems__([*range(60)]).items():
        assert torch.equal(value, before[name])


def test_images_without_the_targets_of_the_others(bank):
    fill_targets(bank, 0)
    with pytest.raises(ValueError, match='but these images have none'):
        fill(bank, 1, epoch=0)
    assert len(bank) == len(BankFolder(bank.folder.path)) == 60


def test_targets_are_imported(bank, tmp_path):
    fill_targets(bank, 2)
    other = ImageBank(init_bank=str(bank.folder.path))
    other.open(tmp_path / 'other', SHAPE, 10)
    assert other.expect_targets(kind_of(2)) == []
    other.bring_targets()
    indices = [*range(60)]
    for name, value in bank.__getitems__(indices).items():
        assert torch.equal(other.__getitems__(indices)[name], value)
    # Those of a run that went on with others stay.
    other.expect_targets(kind_of(0))
    again = ImageBank(init_bank=str(bank.folder.path))
    again.open(tmp_path / 'other', SHAPE, 10)
    assert again.folder.target_kind == kind_of(0)


def test_targets_of_a_part_are_not_imported(bank, tmp_path):
    fill_targets(bank, 0)
    bank.expect_targets(kind_of(0))
    fill(bank, 1, epoch=0)
    other = ImageBank(init_bank=str(bank.folder.path))
    other.open(tmp_path / 'other', SHAPE, 10)
    assert len(other.expect_targets(kind_of(0))) == 4
    with pytest.raises(BankError, match='4 of 4 shards'):
        other.bring_targets()


@pytest.mark.parametrize('link', [False, True])
def test_dropped_imports_stay_dropped(tmp_path, link):
    """They would push out the newest rounds when a run is resumed."""
    source = BankFolder(tmp_path / 'source', (1, 4, 4), 3)
    images = np.zeros((4, 1, 4, 4), np.uint8)
    labels = np.zeros(4, np.int64)
    for index in range(3):
        source.append(images, labels, INITIAL, index, True)

    def opened():
        bank = ImageBank(
            capacity=8, init_bank=str(source.path), link_init_bank=link
        )
        bank.open(tmp_path / 'run', (1, 4, 4), 3)
        return bank

    bank = opened()
    for epoch in range(3):
        bank.append(images, labels, epoch, 0)
    shards = bank.opened.shards
    assert [shard.epoch for shard in shards] == [1, 2]
    assert opened().opened.shards == shards


def test_a_bank_that_grew_is_not_imported_again(tmp_path):
    source = BankFolder(tmp_path / 'source', (1, 4, 4), 3)
    images = np.zeros((4, 1, 4, 4), np.uint8)
    labels = np.zeros(4, np.int64)
    source.append(images, labels, INITIAL, 0, True)
    sizes = []
    for _ in range(2):
        bank = ImageBank(init_bank=str(source.path))
        bank.open(tmp_path / 'run', (1, 4, 4), 3)
        sizes.append(len(bank))
        source.append(images, labels, INITIAL, len(sizes), True)
    assert sizes == [4, 4]


@pytest.mark.parametrize('labels', ['folders', 'teacher'])
def test_a_folder_that_changed_within_its_import(
    labels, tmp_path, monkeypatch
):
    """Pictures would be left out, or be there twice."""
    monkeypatch.setattr(image_bank, 'SHARD_SIZE', 2)
    root = tmp_path / 'images/0'
    root.mkdir(parents=True)
    for number in range(5):
        Image.new('L', (4, 4), number).save(root / f'{number}.png')

    def start(stops=False):
        read = []

        def read_picture(path, grey):
            read.append(path)
            if stops and len(read) > 2:
                raise KeyboardInterrupt
            return pictures.read_picture(path, grey)

        monkeypatch.setattr(init_pictures, 'read_picture', read_picture)
        bank = ImageBank(
            init_bank=str(tmp_path / 'images'), init_labels=labels
        )
        bank.open(
            *(tmp_path / 'run', (1, 4, 4), 1),
            labeller=lambda x: torch.zeros(len(x), dtype=torch.int64),
        )
        return bank

    with pytest.raises(KeyboardInterrupt):
        start(stops=True)
    assert len(ImageBank(data_root=str(tmp_path / 'run'))) == 2
    moved = tmp_path / 'moved.png'
    (root / '0.png').rename(moved)
    with pytest.raises(BankError, match='stopped as it copied .* be there tw'):
        start()
    moved.rename(root / '0.png')
    images, _ = everything(start())
    assert images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    # Once rounds follow, all of it was there.
    bank = start()
    bank.append(images[:1], torch.zeros(1, dtype=torch.int64), INITIAL, 0)
    (root / '0.png').unlink()
    assert len(start()) == 6


def test_a_folder_of_no_class_is_refused(tmp_path):
    """All labels would follow the alphabet, and not the names."""
    for name in ('zero', 'one', 'Two'):
        (tmp_path / 'images' / name).mkdir(parents=True)
        Image.new('L', (4, 4)).save(tmp_path / f'images/{name}/a.png')

    def start():
        bank = ImageBank(init_bank=str(tmp_path / 'images'))
        names = ['zero', 'one', 'two']
        bank.open(tmp_path / 'run', (1, 4, 4), 3, names)
        return bank

    with pytest.raises(ValueError, match="'Two' .did you mean 'two'"):
        start()
    (tmp_path / 'images/Two').rename(tmp_path / 'images/two')
    assert start().labels().tolist() == [1, 2, 0]


def test_a_teacher_labels_images_as_they_are_kept(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3))
    (tmp_path / 'images').mkdir()
    Image.fromarray(noise.astype(np.uint8)).save(tmp_path / 'images/a.png')
    seen = []

    def labeller(images):
        seen.append(images)
        return torch.zeros(len(images), dtype=torch.int64)

    bank = ImageBank(
        init_bank=str(tmp_path / 'images'),
        init_labels='teacher',
        image_format='jpeg',
        quality=50,
    )
    bank.open(tmp_path / 'bank', (3, 16, 16), 2, labeller=labeller)
    assert torch.equal(seen[0], bank.__getitems__([0])['inputs'])


@pytest.mark.parametrize(
    'file, is_named',
    [
        ('1.png', True),
        ('x/y/1.png', True),
        ('y/1.png', True),
        ('1.gif', False),
    ],
)
def test_pictures_that_the_teacher_could_label(file, is_named, tmp_path):
    """The error names it where it would help."""
    for name in ('0/1.png', file):
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', (4, 4)).save(path)
    bank = ImageBank(init_bank=str(tmp_path / 'images'))
    with pytest.raises(ValueError) as raised:
        bank.open(tmp_path / 'run', (1, 4, 4), 2)
    text = str(raised.value)
    assert ('init_labels="teacher"' in text) == (is_named), text

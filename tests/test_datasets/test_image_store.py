# Copyright (c) csd_mmrazor developers. All rights reserved.
import pickle
import threading
from collections import Counter
from concurrent.futures import wait

import numpy as np
import pytest
import torch
from helpers import equal
from test_image_bank import fill_targets, kind_of
from test_image_codec import pictures
from torch.utils.data import DataLoader

from csd_mmrazor.datasets import (
    BankError,
    BankFolder,
    BankSampler,
    ImageBank,
    bank_collate,
)
from csd_mmrazor.datasets.image_store import DiskStore
from csd_mmrazor.datasets.shard_files import ShardFile
from csd_mmrazor.utils import threads

SHAPE = (3, 8, 8)
COUNTS = (7, 5, 9, 7, 1, 7, 8, 6)


def bank_of(path, counts=COUNTS, shape=SHAPE, **kwargs):
    bank = ImageBank(storage='disk', **kwargs)
    bank.open(path, shape, 10)
    for number, count in enumerate(counts):
        images = pictures(count, *shape, seed=number)
        labels = torch.arange(count) % 10
        bank.append(images, labels, 0, number)
    return bank


@pytest.fixture(scope='module', params=['raw', 'png', 'jpeg', 'webp'])
def path(tmp_path_factory, request):
    """A bank of each format."""
    path = tmp_path_factory.mktemp('bank') / request.param
    bank_of(path, image_format=request.param)
    return path


def opened(path, **kwargs):
    return ImageBank(str(path), **kwargs)


@pytest.mark.parametrize('number', [1, 16])
@pytest.mark.parametrize('read_ahead', [0, 8])
@pytest.mark.parametrize('whole', [0, 3])
def test_read_ahead_as_from_memory(path, number, read_ahead, whole):
    """In any order, with requests that were not announced in between."""
    memory = opened(path)
    disk = opened(path, storage='disk', read_ahead=read_ahead)
    generator = torch.Generator().manual_seed(number)
    for length in (100, 37):
        order = torch.randint(50, (length,), generator=generator).tolist()
        disk.expect(order, whole)
        for start in range(0, length, number):
            batch = order[start : start + number]
            assert equal(disk.__getitems__(batch), memory.__getitems__(batch))
            other = order[:3]
            if other != order[start + number :][:3]:
                found = disk.__getitems__(other)
                assert equal(found, memory.__getitems__(other))
    assert np.array_equal(disk.labels(), memory.labels())


def test_batches_of_other_sizes_than_before(tmp_path):
    bank = bank_of(tmp_path)
    memory = opened(tmp_path)
    order = torch.randperm(50).tolist()
    bank.expect(order, 0)
    start = 0
    for number in (8, 8, 3, 8, 1, 1, 8, 8, 5):
        batch = order[start : start + number]
        start += number
        assert equal(bank.__getitems__(batch), memory.__getitems__(batch))


@pytest.mark.parametrize('read_ahead', [0, 1, 3])
def test_that_many_batches_are_read_ahead(tmp_path, monkeypatch, read_ahead):
    bank = bank_of(tmp_path, read_ahead=read_ahead)
    gathered, here = [], threading.get_ident()
    gather = DiskStore._gather

    def noting(self, indices, whole):
        assert threading.get_ident() != here
        gathered.append(len(indices))
        return gather(self, indices, whole)

    monkeypatch.setattr(DiskStore, '_gather', noting)
    bank.expect(list(range(50)), 0)
    assert not gathered  # nothing before the first is asked for
    for taken in range(1, 14):
        bank.__getitems__(list(range(4 * taken - 4, min(4 * taken, 50))))
        wait([future for _, future in bank._store._ahead])
        assert len(gathered) == min(taken + read_ahead, 13)
    assert sum(gathered) == 50


def test_shards_that_are_read_as_a_whole(tmp_path, monkeypatch):
    """Once a pass or, round the circle, twice; few of them at a time."""
    counts = (10,) * 24
    bank = bank_of(tmp_path, counts, read_ahead=2)
    memory = opened(tmp_path)
    sampler = BankSampler(bank, num_samples=240, seed=0, buffer_shards=4)
    read, content = Counter(), ShardFile.content

    def noting(self):
        read[self.path.name] += 1
        return content(self)

    monkeypatch.setattr(ShardFile, 'content', noting)
    loader = DataLoader(
        bank, batch_size=8, sampler=sampler, collate_fn=bank_collate
    )
    held = []
    for batch, indices in zip(loader, torch.tensor(list(sampler)).split(8)):
        assert equal(batch, memory.__getitems__(indices.tolist()))
        held.append(len(bank._store._whole))
    assert max(held) <= 4 + 4 // 4 + 4
    assert set(read) == {shard.name for shard in bank.folder.shards}
    assert sum(read.values()) <= 24 + 8
    # Others than the epoch's are read image by image, as all are without.
    read.clear()
    chosen = list(range(5, 240, 10))
    assert equal(bank.__getitems__(chosen), memory.__getitems__(chosen))
    assert not read
    sampler.buffer_shards = 0
    assert sum(len(batch['labels']) for batch in loader) == 240
    assert not read


@pytest.mark.parametrize('views', [0, 2])
@pytest.mark.parametrize('whole', [0, 2])
@pytest.mark.parametrize('name', ['raw', 'png'])
def test_targets_come_along(tmp_path, views, whole, name):
    bank = bank_of(tmp_path, image_format=name)
    fill_targets(bank, views)
    memory = opened(tmp_path)
    memory.expect_targets(kind_of(views))
    memory.bring_targets()
    order = torch.randperm(50).tolist()
    bank.expect(order, whole)
    for start in range(0, 50, 9):
        batch = order[start : start + 9]
        assert equal(bank.__getitems__(batch), memory.__getitems__(batch))


@pytest.mark.parametrize('whole', [0, 2])
def test_workers_read_for_themselves(tmp_path, whole):
    bank = bank_of(tmp_path, image_format='png')
    sampler = BankSampler(bank, num_samples=50, seed=0, buffer_shards=whole)
    one = [*DataLoader(bank, 10, sampler=sampler, collate_fn=bank_collate)]
    several = DataLoader(
        bank,
        10,
        sampler=sampler,
        collate_fn=bank_collate,
        num_workers=1,
        multiprocessing_context='fork',
    )
    assert all(map(equal, one, several))
    # Workers that are spawned get a copy, while this process reads ahead.
    next(iter(DataLoader(bank, 10, sampler=sampler, collate_fn=bank_collate)))
    copy = pickle.loads(pickle.dumps(bank))
    assert equal(copy.__getitems__([3, 40]), bank.__getitems__([3, 40]))
    images = torch.from_numpy(pictures(3, *SHAPE))
    copy.append(images, torch.zeros(3, dtype=torch.int64), 1, 0)
    assert BankFolder(tmp_path).shards == copy.folder.shards


@pytest.mark.parametrize('whole', [0, 2])
@pytest.mark.parametrize(
    'change',
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(b''),
    ],
    ids=['lost', 'cut', 'empty'],
)
def test_a_shard_that_changes_while_it_is_read(path, tmp_path, change, whole):
    """The error of a thread reaches the step that needs the batch."""
    import shutil

    copy = tmp_path / 'copy'
    shutil.copytree(path, copy)
    bank = opened(copy, storage='disk')
    shard = bank.folder.shards[2]
    change(copy / shard.name)
    bank.expect(list(range(50)), whole)
    bank.__getitems__(list(range(6)))
    with pytest.raises(BankError, match=f'{shard.name} of the image bank'):
        for start in range(6, 48, 6):
            bank.__getitems__(list(range(start, start + 6)))


def test_whole_shards_are_checked_each_time(tmp_path):
    bank = bank_of(tmp_path)
    shard = bank.folder.shards[2]
    content = bytearray((tmp_path / shard.name).read_bytes())
    content[-1] ^= 1
    (tmp_path / shard.name).write_bytes(content)
    bank.expect(list(range(50)), 2)
    with pytest.raises(BankError, match=f'{shard.name} .*altered'):
        for start in range(0, 48, 6):
            bank.__getitems__(list(range(start, start + 6)))


@pytest.mark.parametrize('name', ['raw', 'png', 'jpeg', 'webp'])
@pytest.mark.parametrize('storage', ['host', 'disk'])
def test_a_run_that_resumes_sees_the_same(tmp_path, name, storage):
    """The epoch after, of images that were made and of those read again."""

    def epoch(bank):
        sampler = BankSampler(bank, num_samples=40, seed=3, buffer_shards=2)
        sampler.set_epoch(5)
        loader = DataLoader(bank, 8, sampler=sampler, collate_fn=bank_collate)
        return [*loader]

    first = ImageBank(storage=storage, image_format=name)
    first.open(tmp_path, (3, 224, 224), 10)
    for number in range(4):
        images = torch.from_numpy(pictures(6, seed=number))
        first.append(images, torch.arange(6), 0, number)
    again = ImageBank(storage=storage, image_format=name)
    again.open(tmp_path, (3, 224, 224), 10)
    assert all(map(equal, epoch(first), epoch(again)))


@pytest.mark.parametrize(
    'cores, processes, expected', [(16, 1, 16), (16, 4, 4), (2, 8, 1)]
)
def test_processes_share_the_cores(monkeypatch, cores, processes, expected):
    monkeypatch.setattr(
        threads.os, 'sched_getaffinity', lambda _: range(cores), raising=False
    )
    monkeypatch.setenv('LOCAL_WORLD_SIZE', str(processes))
    assert threads.thread_count() == expected


def test_results_are_in_order_and_few_are_held():
    """However many items there are; an error comes where its item is."""
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    def square(number):
        if number == 700:
            raise KeyError(number)
        return number**2

    results = threads.in_threads(square, items())
    for number in range(700):
        assert next(results) == number**2
        assert len(taken) - number <= 2 * threads.thread_count() + 1
    with pytest.raises(KeyError, match='700'):
        next(results)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(image_format='bmp'), 'image_format .*bmp'),
        (dict(quality=90), 'quality=90 .*raw'),
        (dict(read_ahead=-1), 'read_ahead .*-1'),
        (dict(read_ahead=257), 'read_ahead .*at most 256 .*257'),
        (dict(read_ahead=1.5), r'read_ahead .*1\.5'),
        (dict(verify='old'), 'verify .*old'),
        (dict(verify=None), 'verify .*None'),
        (dict(init_labels='none'), 'init_labels .*none'),
        (dict(init_labels=None), 'init_labels .*None'),
        (dict(init_labels='teacher'), 'init_labels="teacher" .*=None'),
        (dict(link_init_bank=True), 'link_init_bank=True .*init_bank=None'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ImageBank(**kwargs)

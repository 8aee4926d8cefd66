# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Banks that nobody wants to read or copy as a whole."""

import os
import shutil

import numpy as np
import pytest
import torch
from helpers import equal
from test_image_bank import fill_targets, kind_of
from test_image_store import SHAPE, bank_of, opened
from test_verification import spoil

from csd_mmrazor.datasets import (
    BankError,
    BankFolder,
    BankSampler,
    ImageBank,
)
from csd_mmrazor.datasets import bank_folder as module
from csd_mmrazor.datasets.bank_folder import IMPORTED
from csd_mmrazor.datasets.shard_files import ShardFile
from csd_mmrazor.utils.files import write_file


def test_many_shards(tmp_path, monkeypatch):
    """Opened again, no file of theirs is opened."""
    monkeypatch.setattr(os, 'fsync', lambda file: None)
    folder = BankFolder(tmp_path, (1, 2, 2), 10)
    write_manifest = BankFolder.write_manifest
    monkeypatch.setattr(BankFolder, 'write_manifest', lambda self: None)
    images = np.arange(600 * 4, dtype=np.uint8).reshape(600, 1, 2, 2)
    for number, image in enumerate(images):
        folder.append(image[None], np.array([3]), number, 0, write=True)
    write_manifest(folder)
    opened(tmp_path, storage='disk')
    with monkeypatch.context() as patch:

        def fail(*args):
            raise AssertionError

        patch.setattr(BankFolder, 'check', fail)
        patch.setattr(ShardFile, '_take', fail)
        bank = opened(tmp_path, storage='disk')
    order = torch.randperm(600)[:50].tolist()
    found = bank.__getitems__(order)['inputs'].numpy()
    assert np.array_equal(found, images[order])


def started(path, source, **kwargs):
    bank = ImageBank(
        init_bank=str(source), link_init_bank=True, storage='disk', **kwargs
    )
    bank.open(path, SHAPE, 10)
    return bank


@pytest.mark.parametrize('views', [None, 0, 2])
@pytest.mark.parametrize('name', ['raw', 'png', 'jpeg'])
def test_starts_from_a_bank_without_copying_it(tmp_path, checked, name, views):
    first = bank_of(tmp_path / 'first', image_format=name)
    if views is not None:
        fill_targets(first, views)
    bank = started(tmp_path / 'bank', tmp_path / 'first')
    checked()
    assert {shard.epoch for shard in bank.folder.shards} == {IMPORTED}
    for old, new in zip(first.folder.shards, bank.folder.shards):
        assert new.sha256 == old.sha256 and new.count == old.count
        assert (tmp_path / 'bank' / new.name).samefile(
            tmp_path / 'first' / old.name
        )
    if views is not None:
        assert bank.expect_targets(kind_of(views)) == []
        bank.bring_targets()
    indices = list(range(50))
    assert equal(bank.__getitems__(indices), first.__getitems__(indices))
    # It goes on by itself, and nothing is checked or linked again.
    images = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    again = started(tmp_path / 'bank', tmp_path / 'first')
    again.append(images, torch.tensor([1, 2]), 0, 0)
    assert checked() == []
    assert len(started(tmp_path / 'bank', tmp_path / 'first')) == 52
    # What either of them drops, the other keeps.
    again.keep(again.folder.shards[4:])
    opened(tmp_path / 'first', verify='all', storage='disk')
    shutil.rmtree(tmp_path / 'first')
    opened(tmp_path / 'bank', verify='all', storage='disk')


def test_a_copy_is_the_same(tmp_path):
    bank_of(tmp_path / 'first', image_format='png')
    linked = started(tmp_path / 'linked', tmp_path / 'first')
    copied = ImageBank(init_bank=str(tmp_path / 'first'))
    copied.open(tmp_path / 'copied', SHAPE, 10)
    assert copied.folder.shards == linked.folder.shards
    for shard in copied.folder.shards:
        path = tmp_path / 'copied' / shard.name
        assert path.stat().st_nlink == 1
    indices = list(range(50))
    assert equal(copied.__getitems__(indices), linked.__getitems__(indices))


@pytest.mark.parametrize('noted', [False, True])
def test_a_bank_that_was_linked_to_is_not_checked_again(
    tmp_path, checked, noted
):
    names = [s.name for s in bank_of(tmp_path / 'first').folder.shards]
    if noted:
        opened(tmp_path / 'first', storage='disk')
    started(tmp_path / 'bank', tmp_path / 'first')
    assert checked() == names  # once
    # Nothing is written to a bank that had no such note.
    assert (tmp_path / 'first/verified.json').exists() == noted
    opened(tmp_path / 'first', storage='disk')
    opened(tmp_path / 'bank', storage='disk')
    assert checked() == ([] if noted else names)


def test_a_disk_without_links(tmp_path, monkeypatch):
    bank_of(tmp_path / 'first')

    def fail(*args):
        raise OSError(18, 'Invalid cross-device link')

    monkeypatch.setattr(os, 'link', fail)
    with pytest.raises(BankError, match='cross-device.*link_init_bank=False'):
        started(tmp_path / 'bank', tmp_path / 'first')
    assert not BankFolder.exists(tmp_path / 'bank')


@pytest.mark.parametrize('link', [False, True])
@pytest.mark.parametrize('after', [0, 3, 8])
def test_killed_while_it_is_taken_over(tmp_path, monkeypatch, after, link):
    first = bank_of(tmp_path / 'first')
    bring, calls = module._bring, []

    def dying(*args):
        if len(calls) >= after:  # threads may pass it
            raise KeyboardInterrupt
        calls.append(bring(*args))

    def start():
        bank = ImageBank(
            init_bank=str(tmp_path / 'first'), link_init_bank=link
        )
        bank.open(tmp_path / 'bank', SHAPE, 10)
        return bank

    with monkeypatch.context() as patch:
        patch.setattr(module, '_bring', dying)
        if after == 8:
            patch.setattr(BankFolder, 'write_manifest', dying)
        with pytest.raises(KeyboardInterrupt):
            start()
    assert not BankFolder.exists(tmp_path / 'bank')
    there = {path.name for path in (tmp_path / 'bank').glob('*.npy')}
    assert len(there) >= after
    written = []

    def noting(path, content):
        written.append(path.name)
        write_file(path, content)

    monkeypatch.setattr(module, 'write_file', noting)
    bank = start()
    # What is right is not copied again.
    assert not there & {*written} and (link or len(written) + len(there) >= 8)
    indices = list(range(50))
    assert equal(bank.__getitems__(indices), first.__getitems__(indices))
    assert not list((tmp_path / 'bank').glob('.*'))


def test_what_is_no_copy_is_copied(tmp_path):
    """Files of the same names and sizes that other starts left."""
    first = bank_of(tmp_path / 'first')
    (tmp_path / 'bank').mkdir()
    names = [shard.name for shard in first.folder.shards]
    shutil.copy(tmp_path / 'first' / names[0], tmp_path / 'bank' / names[0])
    spoil(tmp_path / 'bank' / names[0])
    os.link(tmp_path / 'first' / names[1], tmp_path / 'bank' / names[1])
    (tmp_path / 'bank' / names[2]).symlink_to(tmp_path / 'first' / names[2])
    bank = ImageBank(init_bank=str(tmp_path / 'first'))
    bank.open(tmp_path / 'bank', SHAPE, 10)
    indices = list(range(50))
    assert equal(bank.__getitems__(indices), first.__getitems__(indices))
    for name in names[:3]:
        path = tmp_path / 'bank' / name
        assert not path.is_symlink() and path.stat().st_nlink == 1


@pytest.mark.parametrize('link', [False, True])
@pytest.mark.parametrize('how', ['altered', 'lost', 'link'])
def test_a_damaged_bank_is_not_taken_over(tmp_path, link, how):
    first = bank_of(tmp_path / 'first')
    name = first.folder.shards[3].name
    path = tmp_path / 'first' / name
    if how == 'altered':
        spoil(path)
    else:
        path.rename(tmp_path / 'elsewhere')
    if how == 'link':
        path.symlink_to(tmp_path / 'elsewhere')
    bank = ImageBank(init_bank=str(tmp_path / 'first'), link_init_bank=link)
    with pytest.raises(BankError, match=f'first/{name} .*{how}'):
        bank.open(tmp_path / 'bank', SHAPE, 10)
    assert len(bank) == 0


def test_old_images_of_a_linked_bank_are_dropped(tmp_path):
    bank_of(tmp_path / 'first')
    bank = started(tmp_path / 'bank', tmp_path / 'first', capacity=20)
    assert len(bank) == 21
    assert len(BankFolder(tmp_path / 'first')) == 50


def test_only_banks_are_linked_to(tmp_path):
    (tmp_path / '0').mkdir()
    with pytest.raises(ValueError, match='link_init_bank=True .*not the bank'):
        ImageBank(init_bank=str(tmp_path), link_init_bank=True)


def test_a_run_reads_shards_from_the_disk(tiny_runner):
    """Images are in the order of few shards, in new and in resumed runs."""
    options = {
        'train_dataloader.dataset.storage': 'disk',
        'train_dataloader.dataset.image_format': 'png',
        'train_dataloader.sampler.buffer_shards': 2,
    }
    for epochs in (1, 2):
        runner = tiny_runner(
            resume=epochs == 2, **{'train_cfg.max_epochs': epochs}, **options
        )
        runner.train()
        assert runner.epoch == epochs
        assert runner.train_dataloader.sampler.buffer_shards == 2


@pytest.mark.parametrize(
    'counts, buffer, limit, most',
    [
        # A buffer of B holds B + B // 4 + 4 shards.
        ([10] * 100, 16, 240, None),
        ([10] * 100, 16, 239, 15),
        ([10] * 100, 16, 59, 1),
        ([10] * 100, 16, 49, 0),
        ([10] * 8, 16, 80, None),  # all there are
        ([1] * 90 + [50] * 10, 8, 502, 7),  # the largest ones
        ([10] * 10**4, 10**12, 1000, 77),
        ([10] * 100, 0, 1, None),  # reads each image by itself
    ],
)
def test_a_buffer_fits_into_memory(counts, buffer, limit, most):
    bank = ImageBank(memory_limit=limit * 72 / 2**30)
    if most is None:
        bank.check_buffer(buffer, counts, 72)
        return
    with pytest.raises(ValueError, match=f'to {most}( or less)?, or raise'):
        bank.check_buffer(buffer, counts, 72)


def test_a_sampler_of_a_finished_bank_checks_its_buffer(tmp_path):
    folder = BankFolder(tmp_path, (1, 8, 8), 10)
    images, labels = np.zeros((20, 1, 8, 8), np.uint8), np.zeros(20, np.int64)
    for index in range(6):
        folder.append(images, labels, 0, index, True)
    bank = ImageBank(str(tmp_path), memory_limit=6 * 20 * 72 / 2**30)
    with pytest.raises(ValueError, match='buffer_shards=2 of BankSampler'):
        BankSampler(bank, 10, buffer_shards=2)  # with heads of the files
    bank = ImageBank(str(tmp_path))
    BankSampler(bank, 10, buffer_shards=2)

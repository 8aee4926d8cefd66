# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Banks that nobody wants to read or copy as a whole."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from test_image_bank import fill_targets, kind_of
from test_image_store import SHAPE, bank_of, opened, same

from csd_mmrazor.datasets import (
    BankError,
    BankFolder,
    BankSampler,
    ImageBank,
)
from csd_mmrazor.datasets import bank_folder as module
from csd_mmrazor.datasets import image_bank as bank_module
from csd_mmrazor.datasets.bank_folder import IMPORTED
from csd_mmrazor.datasets.shard_files import ShardFile


@pytest.fixture
def checked(monkeypatch):
    """Names of the files that are compared with their checksums."""
    names, fault = [], BankFolder._fault

    def noting(self, item):
        names.append(self.file_of(*item).path.name)
        return fault(self, item)

    monkeypatch.setattr(BankFolder, '_fault', noting)

    def take():
        found = sorted(names)
        names.clear()
        return found

    return take


@pytest.mark.parametrize('name', ['raw', 'png'])
def test_only_new_files_are_checked(tmp_path, checked, name):
    bank = bank_of(tmp_path, image_format=name)
    names = [shard.name for shard in bank.folder.shards]
    opened(tmp_path, storage='disk')
    assert checked() == names
    opened(tmp_path, storage='disk')
    assert checked() == []
    bank = ImageBank(storage='disk', image_format=name)
    bank.open(tmp_path, SHAPE, 10)
    images = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    bank.append(images, torch.tensor([1, 2]), 1, 0)
    opened(tmp_path, storage='disk')
    assert checked() == [bank.folder.shards[-1].name]
    opened(tmp_path, storage='disk', verify='all')
    assert checked() == [*names, bank.folder.shards[-1].name]
    fill_targets(bank, 0)
    opened(tmp_path, storage='disk')
    found = checked()
    assert len(found) == 9 and all('.targets.' in each for each in found)


def spoil(path, without_trace=False):
    """Flip a bit; as the disk may do it if there is to be no trace."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    if without_trace:
        note = path.with_name('verified.json')
        known, now = json.loads(note.read_text()), path.stat()
        known[path.name][2:] = [now.st_mtime_ns, now.st_ctime_ns, now.st_ino]
        note.write_text(json.dumps(known))


@pytest.mark.parametrize('targets', [False, True])
def test_what_changed_since_is_found(tmp_path, targets):
    bank = bank_of(tmp_path)
    if targets:
        fill_targets(bank, 0)
    opened(tmp_path, storage='disk')
    name = bank.folder.shards[3].name
    name = name.replace('.npy', '.targets.npy') if targets else name
    before = (tmp_path / 'verified.json').read_bytes()
    spoil(tmp_path / name)
    for _ in range(2):  # it is not taken for checked
        with pytest.raises(BankError, match=f'{name} .*altered'):
            opened(tmp_path, storage='disk')
    assert (tmp_path / 'verified.json').read_bytes() == before
    spoil(tmp_path / name)
    opened(tmp_path, storage='disk')
    # Only a check of all sees what left no other trace.
    spoil(tmp_path / name, without_trace=True)
    opened(tmp_path, storage='disk')
    with pytest.raises(BankError, match=f'{name} .*altered'):
        opened(tmp_path, storage='disk', verify='all')
    (tmp_path / name).unlink()
    with pytest.raises(BankError, match=f'{name} .*lost'):
        opened(tmp_path, storage='disk')


def test_memory_takes_in_nothing_unchecked(tmp_path):
    bank = bank_of(tmp_path)
    opened(tmp_path, storage='disk')
    spoil(tmp_path / bank.folder.shards[3].name, without_trace=True)
    with pytest.raises(BankError, match='000003.npy .*altered'):
        opened(tmp_path)


@pytest.mark.parametrize(
    'content', [b'', b'[]', b'7', b'\xff', b'[' * 10**5, b'{"000003.npy": 1}']
)
def test_a_damaged_note_of_what_was_checked(tmp_path, checked, content):
    bank_of(tmp_path)
    (tmp_path / 'verified.json').write_bytes(content)
    opened(tmp_path, storage='disk')
    assert len(checked()) == 8
    assert len(json.loads((tmp_path / 'verified.json').read_text())) == 8


@pytest.mark.parametrize('how', [shutil.copyfile, shutil.copy2])
def test_a_copied_bank_is_checked_again(tmp_path, checked, how):
    """One that keeps the times (cp -a) as well."""
    bank_of(tmp_path / 'first')
    opened(tmp_path / 'first', storage='disk')
    checked()
    shutil.copytree(tmp_path / 'first', tmp_path / 'other', copy_function=how)
    opened(tmp_path / 'other', storage='disk')
    assert len(checked()) == 8


def test_a_change_that_sets_its_time_back_is_found(tmp_path):
    bank = bank_of(tmp_path)
    opened(tmp_path, storage='disk')
    path = tmp_path / bank.folder.shards[3].name
    before = path.stat()
    spoil(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(BankError, match='000003.npy .*altered'):
        opened(tmp_path, storage='disk')


def long_note(path):
    with open(path, 'rb+') as file:  # no bytes of a disk
        file.truncate(2**40)


def link_out(path):
    path.rename(path.parent.parent / 'verified.json')
    path.symlink_to('../verified.json')


@pytest.mark.parametrize(
    'how',
    [
        lambda path: (path.unlink(), os.mkfifo(path)),
        lambda path: (path.unlink(), path.mkdir()),
        long_note,
        link_out,
    ],
)
def test_a_note_that_is_no_file_of_the_bank(tmp_path, checked, how):
    """It is neither waited for nor read into memory."""
    path = tmp_path / 'bank'
    bank_of(path)
    opened(path, storage='disk')
    checked()
    how(path / 'verified.json')
    opened(path, storage='disk')
    assert len(checked()) == 8


def test_processes_that_see_other_times_check_all(tmp_path, monkeypatch):
    """What each checks follows from what the first one sees."""
    bank = bank_of(tmp_path)
    opened(tmp_path, storage='disk')
    first, asked = [bank.folder.unverified(True)], []
    monkeypatch.setattr(bank_module, 'is_main_process', lambda: False)
    monkeypatch.setattr(bank_module, 'get_dist_info', lambda: (1, 2))
    monkeypatch.setattr(
        bank_module,
        'broadcast_object_list',
        lambda found: found.__setitem__(slice(None), first),
    )
    monkeypatch.setattr(
        BankFolder, 'verify', lambda self, files: asked.extend(files) or ''
    )
    bank_module._verify_together(bank.folder, False)
    assert asked == first[0][1::2] and len(asked) == 4


def test_processes_share_the_checks(tmp_path, checked):
    bank = bank_of(tmp_path)
    parts = []
    for rank in range(3):
        new = bank.folder.unverified(False)
        assert bank.folder.verify(new[rank::3]) == ''
        parts.append(checked())
    assert sorted(sum(parts, [])) == [s.name for s in bank.folder.shards]
    assert {len(part) for part in parts} == {2, 3}


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

        patch.setattr(BankFolder, '_fault', fail)
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
    assert same(bank.__getitems__(indices), first.__getitems__(indices))
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
    assert same(copied.__getitems__(indices), linked.__getitems__(indices))


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
        if len(calls) == after:
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
    bank = start()
    indices = list(range(50))
    assert same(bank.__getitems__(indices), first.__getitems__(indices))
    assert not list((tmp_path / 'bank').glob('.*'))


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

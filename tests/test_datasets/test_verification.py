# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import os
import shutil

import pytest
import torch
from test_image_bank import fill_targets
from test_image_store import SHAPE, bank_of, opened

from csd_mmrazor.datasets import BankError, ImageBank
from csd_mmrazor.datasets import verification as module
from csd_mmrazor.datasets.verification import unverified, verify


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
    first, asked = [unverified(bank.folder, True)], []
    monkeypatch.setattr(module, 'is_main_process', lambda: False)
    monkeypatch.setattr(module, 'get_dist_info', lambda: (1, 2))
    monkeypatch.setattr(
        module,
        'broadcast_object_list',
        lambda found: found.__setitem__(slice(None), first),
    )
    monkeypatch.setattr(
        module, 'verify', lambda folder, files: asked.extend(files) or ''
    )
    module.verify_together(bank.folder, False)
    assert asked == first[0][1::2] and len(asked) == 4


def test_processes_share_the_checks(tmp_path, checked):
    bank = bank_of(tmp_path)
    parts = []
    for rank in range(3):
        new = unverified(bank.folder, False)
        assert verify(bank.folder, new[rank::3]) == ''
        parts.append(checked())
    assert sorted(sum(parts, [])) == [s.name for s in bank.folder.shards]
    assert {len(part) for part in parts} == {2, 3}

# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import json
import os
import shutil

import pytest
from test_bank_folder import (
    SHAPE,
    as_before,
    batch,
    kind_of,
    targets_of,
)

from csd_mmrazor.datasets import BankError, BankFolder
from csd_mmrazor.datasets import manifest as module
from csd_mmrazor.datasets.loose_rounds import read_notes, write_note
from csd_mmrazor.datasets.manifest import ManifestFile, Shard, TargetKind
from csd_mmrazor.engine.synthesis.persistent_state import _files


@pytest.fixture
def folder(tmp_path):
    folder = BankFolder(tmp_path / 'bank', SHAPE, 10)
    folder.expect_targets(kind_of(0), write=True)
    for index in range(4):
        targets = targets_of(5, 0, index) if index % 2 else None
        folder.append(*batch(seed=index), 0, index, True, targets)
    return folder


def shard(number):
    checksum = hashlib.sha256(b'%d' % number).hexdigest()
    return Shard(f'{number:06d}.npy', 1 + number % 5, checksum, number, 0)


def contents(folder):
    return (
        folder.shards,
        folder.states,
        folder.classes,
        folder.target_kind,
        folder.targets,
    )


def test_a_round_writes_as_much_whatever_the_bank_has(tmp_path, monkeypatch):
    """Thousands of shards, and the bytes that the next one writes."""
    written = []
    write_file, append = module.write_file, module._append
    monkeypatch.setattr(
        module,
        'write_file',
        lambda path, content: (
            written.append(len(content)),
            write_file(path, content),
        ),
    )
    monkeypatch.setattr(
        module,
        '_append',
        lambda path, start, content: (
            written.append(len(content)),
            append(path, start, content),
        ),
    )
    monkeypatch.setattr(os, 'fsync', lambda file: None)
    manifest = ManifestFile(tmp_path)
    shards = [shard(number) for number in range(5000)]
    shown = module.Manifest([3, 4, 4], 10, shards, {}, [], None, {})
    manifest.write(shown._replace(shards=shards[:1]))
    sizes = {}
    for each in shards[1:]:
        manifest.add(each.entry())
        number = int(each.name[:6])
        if number < 10 or number >= 4990:
            written.clear()
            manifest.write(shown)
            sizes[number] = sum(written)
        elif number % 1000 == 0:
            manifest.write(shown)
    # Digits of numbers, and here the lines since the last one.
    del sizes[4990]
    assert max(sizes.values()) < min(sizes.values()) + 20
    assert ManifestFile(tmp_path).read() == shown


def test_parts_that_a_round_may_change(tmp_path):
    """Each way to change a bank, against what the writer holds."""
    folder = BankFolder(tmp_path / 'bank', SHAPE, 10, [*'abcdefghij'])

    def check():
        assert contents(BankFolder(folder.path)) == contents(folder)

    for index in range(3):
        folder.states[f'state_{index:06d}_{index:06d}.pth'] = 'b' * 64
        folder.append(*batch(seed=index), 0, index, write=True)
        check()
    folder.expect_targets(kind_of(0), write=True)
    check()
    for each in folder.shards:
        folder.add_targets(each, targets_of(5, 0), write=True)
        check()
    folder.append(*batch(), 1, 0, True, targets_of(5, 0))
    folder.states.popitem()
    folder.write_manifest()
    check()
    folder.keep(folder.shards[1:3], write=True)
    check()
    folder.append(*batch(), 7, 0, write=True)
    check()
    folder.expect_targets(None, write=True)
    check()
    assert len(list(folder.path.glob('log_*'))) == 1


def test_banks_of_earlier_releases_go_on(folder):
    before = as_before(folder)
    assert contents(before) == contents(folder)
    assert not list(folder.path.glob('log_*'))
    before.append(*batch(seed=9), 1, 0, True, targets_of(5, 0))
    again = BankFolder(folder.path)
    assert again.shards[:-1] == folder.shards
    assert contents(again) == contents(before)
    # An earlier release refuses it, and does not take it for a shorter one.
    content = json.loads((folder.path / 'manifest.json').read_text())
    assert content['version'] == 2 and 'shards' not in content


@pytest.mark.parametrize('tail', [b'', b'{"na', b'\0' * 100, b'x' * 5000])
def test_killed_between_log_and_manifest(folder, tail):
    """What lies after the part that counts is written over."""
    kept = (folder.path / 'manifest.json').read_bytes()
    before = contents(BankFolder(folder.path))
    folder.append(*batch(seed=7), 1, 0, write=True)
    (folder.path / 'manifest.json').write_bytes(kept)
    (log,) = folder.path.glob('log_*')
    log.write_bytes(log.read_bytes() + tail)
    again = BankFolder(folder.path)
    assert contents(again) == before
    again.append(*batch(seed=8), 1, 0, write=True)
    assert contents(BankFolder(folder.path)) == contents(again)
    again.read(again.shards[-1])


def test_copies_by_hard_links_go_their_own_ways(folder, tmp_path):
    other = tmp_path / 'other'
    shutil.copytree(folder.path, other, copy_function=os.link)
    folder.append(*batch(seed=7), 1, 0, write=True)
    copy = BankFolder(other)
    copy.expect_targets(kind_of(0), write=True)
    for index in (8, 9):
        copy.append(*batch(seed=index), 1, index, write=True)
    for each in (folder, copy):
        assert contents(BankFolder(each.path)) == contents(each)
        assert len(list(each.path.glob('log_*'))) == 1
    assert len(copy.shards) == len(folder.shards) + 1


@pytest.mark.parametrize('kills', [0, 1, 2])
def test_killed_while_the_log_is_written_again(folder, monkeypatch, kills):
    """Before the new log, before the manifest, before the old one goes."""
    before = contents(BankFolder(folder.path))
    calls = []

    def dying(path, content):
        if len(calls) == kills:
            raise KeyboardInterrupt
        calls.append(path)
        write_file(path, content)

    write_file = module.write_file
    with monkeypatch.context() as patch:
        patch.setattr(module, 'write_file', dying)
        if kills == 2:

            def die(*args, **kwargs):
                raise KeyboardInterrupt

            patch.setattr(type(folder.path), 'unlink', die)
        with pytest.raises(KeyboardInterrupt):
            folder.keep(folder.shards[:2], write=True)
    again = BankFolder(folder.path)
    if kills == 2:
        assert again.shards == folder.shards
    else:
        assert contents(again) == before
    again.keep(again.shards[:1], write=True)
    again.append(*batch(), 5, 0, write=True)
    assert contents(BankFolder(folder.path)) == contents(again)


def test_read_while_a_run_begins_another_log(folder, monkeypatch):
    """What is read first is of a log that is gone by then."""
    read = ManifestFile._content

    def late(self, name, size=-1):
        content = read(self, name, size)
        if len(folder.shards) > 2:
            folder.keep(folder.shards[2:], write=True)
        return content

    monkeypatch.setattr(ManifestFile, '_content', late)
    other = BankFolder(folder.path)
    assert len(other.shards) == 2
    assert contents(other) == contents(folder)


def test_every_flipped_bit_is_noticed(folder):
    """Of the log any; of the manifest those that change what it says."""
    (log,) = folder.path.glob('log_*')
    right = log.read_bytes()
    for place in range(0, len(right), 5):
        wrong = bytearray(right)
        wrong[place] ^= 1 << place % 8
        log.write_bytes(wrong)
        with pytest.raises(BankError, match='log_.* cut short or altered'):
            BankFolder(folder.path)


@pytest.mark.parametrize('left', [0, 1, 200, -1])
def test_a_cut_log_is_noticed(folder, left):
    (log,) = folder.path.glob('log_*')
    log.write_bytes(log.read_bytes()[:left])
    with pytest.raises(BankError, match='log_.* cut short or .*Restore'):
        BankFolder(folder.path)


@pytest.mark.parametrize('how', ['gone', 'link', 'folder', 'pipe'])
def test_the_log_is_a_file_of_the_folder(folder, tmp_path, how):
    (log,) = folder.path.glob('log_*')
    log.rename(tmp_path / 'elsewhere')
    if how == 'link':
        log.symlink_to(tmp_path / 'elsewhere')
    elif how == 'folder':
        log.mkdir()
    elif how == 'pipe':
        os.mkfifo(log)
    with pytest.raises(BankError, match='log_.* is no file, or a link'):
        BankFolder(folder.path)


def craft(folder, lines=None, **values):
    """Another log, with its checksum, and other values of the manifest."""
    path = folder.path / 'manifest.json'
    manifest = json.loads(path.read_text())
    log = folder.path / manifest['log']['name']
    if lines is not None:
        log.write_bytes(lines)
    content = log.read_bytes()
    manifest['log'].update(
        length=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    for name, value in values.items():
        part, _, key = name.rpartition('__')
        (manifest[part] if part else manifest)[key] = value
    path.write_text(json.dumps(manifest))


def line(**values):
    return (json.dumps(values) + '\n').encode()


ENTRY = shard(1).entry()


@pytest.mark.parametrize(
    'lines, values, message',
    [
        (b'[' * 10**5, {}, 'too deeply'),
        (b'{"name":' * 10**5, {}, 'too deeply'),
        (b'{}\n', {}, 'a shard'),
        (b'7\n', {}, 'a shard'),
        (b'\n\n', {}, ''),
        (b'\xff\n', {}, 'utf-8'),
        (line(**dict(ENTRY, more=1)), {}, 'a shard'),
        (line(**dict(ENTRY, name='../1.npy')), {}, 'shard name'),
        (line(**dict(ENTRY, count=0)), {}, 'count 0'),
        (line(**dict(ENTRY, count=True)), {}, 'count True'),
        (line(**ENTRY) * 2, {}, 'shard name after'),
        (
            line(**ENTRY) + line(**dict(ENTRY, name='000002.npy')),
            {},
            'second shard',
        ),
        (line(targets='000001.npy'), {}, 'targets'),
        (line(targets='../x', sha256='0' * 64), {}, 'shard of targets'),
        (line(targets=[], sha256='0' * 64), {}, 'shard of targets'),
        (line(targets='000001.npy', sha256='0' * 64), {}, 'shard of targets'),
        (
            line(**ENTRY) + line(targets='000001.npy', sha256='0'),
            {},
            "sha256 '0'",
        ),
        (None, dict(version=1), 'the keys'),
        (None, dict(version=3), 'version 3'),
        (None, dict(version=2.0), r'version 2\.0'),
        (None, dict(version=None), 'version None'),
        (None, dict(shards=[]), 'the keys'),
        (None, dict(extra=1), 'the keys'),
        (None, dict(log=None), 'the log None'),
        (None, dict(log=[]), 'the log'),
        (None, dict(log__extra=1), 'the log'),
        (None, dict(log__name='../log_000000.jsonl'), 'log name'),
        (None, dict(log__name='000000.npy'), 'log name'),
        (None, dict(log__length=-1), 'bytes of the log -1'),
        (None, dict(log__length=True), 'bytes of the log True'),
        (None, dict(log__length=10**30), 'bytes of the log'),
        (None, dict(log__length=2**31 - 1), 'cut short'),
        (None, dict(log__length=7), 'cut short'),
        (None, dict(log__sha256='0' * 64), 'cut short'),
        (None, dict(log__sha256=0), 'sha256 0'),
        (None, dict(targets__files={}), 'targets'),
        (None, dict(targets=None), 'targets of no kind'),
    ],
)
def test_crafted_logs_are_refused(folder, lines, values, message):
    craft(folder)  # the right ones are taken
    BankFolder(folder.path)
    craft(folder, lines, **values)
    path = folder.path / 'manifest.json'
    with pytest.raises(
        BankError, match=f'{path}, cannot be used .*{message}.*Restore'
    ) as error:
        BankFolder(folder.path)
    assert len(str(error.value)) < 1000


def test_a_full_disk_leaves_the_log(folder, monkeypatch):
    before = contents(BankFolder(folder.path))

    def full(file):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', full)
        folder._manifest.add(shard(9).entry())
        with pytest.raises(OSError, match='log_.*|not written') as error:
            folder.write_manifest()
    assert 'log_000000.jsonl' in str(error.value)
    assert contents(BankFolder(folder.path)) == before
    folder.append(*batch(), 5, 0, write=True)


def test_kinds_of_a_bank_without_shards(tmp_path):
    """What is said before the first round is written with it."""
    folder = BankFolder(tmp_path, SHAPE, 10)
    folder.expect_targets(TargetKind('a' * 64, 0, ''), write=True)
    assert not BankFolder.exists(tmp_path)
    folder.append(*batch(), 0, 0, True, targets_of(5, 0))
    assert contents(BankFolder(tmp_path)) == contents(folder)


CLOSED, OPEN, QUOTE = ']' * 10**5, '[' * 10**5, '\\"'


@pytest.mark.parametrize(
    'text',
    [
        f'{{"a": "{CLOSED}", "b": {OPEN}}}',
        f'{{"a": "{QUOTE}{CLOSED}", "b": {OPEN}}}',
        OPEN,
    ],
)
def test_brackets_in_strings_do_not_count(text):
    """Or the parser would recurse until the process crashes."""
    with pytest.raises(ValueError, match='nested too deeply'):
        module.parse_json(text)


def test_more_shards_than_six_digits_have(tmp_path):
    """Older ones may be dropped, and numbers only grow."""
    folder = BankFolder(tmp_path / 'bank', SHAPE, 10)
    folder.expect_targets(kind_of(0), write=True)
    for index, number in enumerate((999_998, 999_999, 10**6, 10**6 + 1)):
        made = folder.write_round(
            *batch(seed=index), 0, index, targets_of(5, 0, index), number
        )
        write_note(folder.path, made._replace(run='a' * 64))
        name = f'state_{number:06d}_{number:06d}.pth'
        (folder.path / name).touch()
    names = ['999998', '999999', '1000000', '1000001']
    noted = read_notes(folder.path)
    assert [made.shard.name for made in noted] == [f'{n}.npy' for n in names]
    folder.add_rounds(noted[:3], write=True)
    again = BankFolder(folder.path)
    assert again.next_number == 10**6 + 1
    again.add_rounds(noted[3:], write=True)
    again.append(*batch(seed=9), 1, 0, True, targets_of(5, 0, 9))
    third = BankFolder(folder.path)
    assert contents(third) == contents(again)
    assert third.shards[-1].name == '1000002.npy'
    assert not read_notes(folder.path)
    states = [path.name.split('_')[1] for path, *_ in _files(third)]
    assert states == names
    other = BankFolder(tmp_path / 'other', SHAPE, 10)
    other.shards = third.shards[:1]
    other.bring(third, link=False)
    other.adopt(third, write=True)
    assert [s.number for s in other.shards[1:]] == [*range(999_999, 10**6 + 4)]
    for each in BankFolder(other.path).shards[1:]:
        other.read(each)


@pytest.mark.parametrize(
    'name', ['0999999.npy', '00001.npy', '1000000000.npy', '9999990.jpg.npy']
)
def test_names_that_no_shard_has(folder, name):
    folder.shards[-1] = folder.shards[-1]._replace(name=name)
    folder.targets.pop('000003.npy', None)
    folder.write_manifest(anew=True)
    with pytest.raises(BankError, match='shard name'):
        BankFolder(folder.path)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Rounds that are on the disk and not in the manifest yet."""

import json
import os
from datetime import timedelta

import numpy as np
import pytest
import torch
from helpers import exit_codes
from mmengine.logging import MMLogger
from test_bank_folder import SHAPE, batch, kind_of, targets_of

from csd_mmrazor.datasets import BankError, BankFolder, ImageBank
from csd_mmrazor.datasets import image_bank as module
from csd_mmrazor.datasets.image_codec import ImageCodec
from csd_mmrazor.datasets.loose_rounds import (
    Round,
    read_notes,
    remove_note,
    write_note,
)
from csd_mmrazor.engine.synthesis import round_runner as round_module
from csd_mmrazor.engine.synthesis.run_bank import loose_rounds
from csd_mmrazor.models import ImageSynthesizer

RUN = 'a' * 64


def put(folder, index, number, targets=None):
    made = folder.write_round(*batch(seed=index), 0, index, targets, number)
    made = made._replace(run=RUN)
    write_note(folder.path, made)
    return made


@pytest.mark.parametrize('views', [None, 0, 2])
def test_rounds_of_others_are_adopted_in_their_order(tmp_path, views):
    plain = BankFolder(tmp_path / 'plain', SHAPE, 10)
    folder = BankFolder(tmp_path / 'bank', SHAPE, 10)
    targets = [None] * 3
    if views is not None:
        for each in (plain, folder):
            each.expect_targets(kind_of(views), write=True)
        targets = [targets_of(5, views, index) for index in range(3)]
    for index in range(3):
        plain.append(*batch(seed=index), 0, index, True, targets[index])
    made = [put(folder, index, index, targets[index]) for index in (2, 0, 1)]
    assert not BankFolder.exists(folder.path)
    noted = read_notes(folder.path)
    assert noted == sorted(made, key=lambda each: each.shard.name)
    folder.add_rounds(noted, write=True)
    assert read_notes(folder.path) == []
    again = BankFolder(folder.path)
    assert again.shards == plain.shards and again.targets == plain.targets
    assert again.digest() == plain.digest() and len(again) == len(plain)
    for shard in again.shards:
        again.read(shard)
        if views is not None:
            again.read_targets(shard)


def spoil(path, **changes):
    note = json.loads(path.read_text())
    note['shard'].update(changes)
    path.write_text(json.dumps(note))


@pytest.mark.parametrize(
    'how',
    [
        lambda path: spoil(path, name='../000000.npy'),
        lambda path: spoil(path, name='000001.npy'),
        lambda path: spoil(path, sha256='x'),
        lambda path: spoil(path, count=0),
        lambda path: spoil(path, epoch=True),
        lambda path: path.write_text('[' * 90_000),
        lambda path: path.write_text('{}'),
        lambda path: path.write_text(path.read_text().replace(RUN, 'b')),
        lambda path: path.write_text(path.read_text().replace('run', 'x')),
        lambda path: path.write_text('null'),
        lambda path: path.write_bytes(b'\xff' * 10),
        lambda path: path.with_name('000000.npy').unlink(),
        lambda path: path.write_text(
            path.read_text()[:-1] + ', "kind": {}, "targets": "x"}'
        ),
    ],
)
def test_a_note_that_cannot_be_used_is_passed_over(tmp_path, how):
    folder = BankFolder(tmp_path / 'bank', SHAPE, 10)
    put(folder, 0, 0)
    kept = put(folder, 2, 2)
    how(folder.path / 'note_000000.json')
    assert read_notes(folder.path) == [kept]


def test_no_bank_has_no_notes(tmp_path):
    assert read_notes(tmp_path / 'none') == []
    made = Round(
        BankFolder(tmp_path, SHAPE, 10)
        .write_round(*batch(), 0, 0, write=False)
        .shard
    )
    remove_note(tmp_path, made.shard)
    assert not [*tmp_path.glob('*.npy')]


def test_an_altered_shard_of_another_process_is_found(tmp_path):
    folder = BankFolder(tmp_path / 'bank', SHAPE, 10)
    made = put(folder, 0, 0)
    (folder.path / made.shard.name).write_bytes(b'cut')
    bank = ImageBank()
    bank.open(folder.path, SHAPE, 10)
    with pytest.raises(BankError, match='cut short or altered'):
        bank.add_rounds([made])


def test_a_disk_that_shows_files_late(tmp_path, monkeypatch):
    other = BankFolder(tmp_path / 'bank', SHAPE, 10)
    made = put(other, 0, 0)
    path = other.path / made.shard.name
    hidden = path.rename(path.with_suffix('.hidden'))
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            hidden.rename(path)

    monkeypatch.setattr(module.time, 'sleep', sleep)
    bank = ImageBank()
    bank.open(other.path, SHAPE, 10)
    bank.add_rounds([made])
    assert len(waits) == 3 and len(bank) == made.shard.count
    assert np.array_equal(
        bank.__getitems__([0])['inputs'][0].numpy(), batch(seed=0)[0][0]
    )


def test_what_was_written_before_the_manifest_is_not_made_again(
    tiny_runner, tmp_path, monkeypatch
):
    """The process is gone between the files of a round and the manifest."""
    made, add_rounds = [], ImageBank.add_rounds
    synthesize = ImageSynthesizer.synthesize

    def counted(*args, **kwargs):
        made.append(kwargs['seed'])
        return synthesize(*args, **kwargs)

    monkeypatch.setattr(ImageSynthesizer, 'synthesize', counted)
    tiny_runner('whole').train()
    whole, seeds = BankFolder(tmp_path / 'whole/bank'), list(made)
    made.clear()

    def gone(self, rounds, held=None):
        if len(made) == 2:
            raise KeyboardInterrupt
        add_rounds(self, rounds, held)

    monkeypatch.setattr(ImageBank, 'add_rounds', gone)
    with pytest.raises(KeyboardInterrupt):
        tiny_runner('run').train()
    monkeypatch.setattr(ImageBank, 'add_rounds', add_rounds)
    folder = tmp_path / 'run/bank'
    assert len(BankFolder(folder).shards) == 1
    assert [each.shard.index for each in read_notes(folder)] == [1]
    with pytest.raises(BankError, match='holds images of an earlier run'):
        tiny_runner('run').train()
    tiny_runner('run', resume=True).train()
    assert made == seeds
    assert BankFolder(folder).shards == whole.shards
    assert read_notes(folder) == []


@pytest.mark.parametrize('what', ['label', 'targets', 'shape'])
def test_rounds_that_were_altered_are_made_again(tmp_path, what):
    """Before the manifest says that they are there, which would be final."""
    path = tmp_path / 'bank'
    folder = BankFolder(path, SHAPE, 10)
    folder.expect_targets(kind_of(0), write=True)
    for index in range(2):
        put(folder, index, index, targets_of(5, 0, index))
    shape = SHAPE
    if what == 'shape':
        shape = (SHAPE[0], SHAPE[1] + 4, SHAPE[2])
    else:
        name = dict(label='000001.npy', targets='000001.targets.npy')[what]
        content = bytearray((path / name).read_bytes())
        content[-1] ^= 1
        (path / name).write_bytes(content)
    bank = ImageBank()
    bank.open(path, shape, 10)
    bank.opened.target_kind = kind_of(0)
    found = loose_rounds(bank, 0, {0: 0, 1: 1}, RUN)
    assert [*found] == ([] if what == 'shape' else [0])
    assert [made.shard.index for made in read_notes(path)] == (
        [] if what == 'shape' else [0]
    )


def _look_for_rounds(path, rank):
    """As a process of two; says how many rounds it read and they found."""
    torch.distributed.init_process_group(
        'gloo',
        f'file://{path}.processes',
        timedelta(seconds=30),
        world_size=2,
        rank=rank,
    )
    bank = ImageBank()
    bank.open(path, SHAPE, 10)
    check, read = BankFolder.check, []

    def noting(self, shard):
        read.append(shard)
        check(self, shard)

    BankFolder.check = noting
    found = loose_rounds(bank, 0, dict(zip(range(5), range(5))), RUN)
    os._exit(10 * len(read) + len(found))


@pytest.mark.parametrize('name', ['raw', 'png'])
def test_processes_share_the_reading_of_rounds(tmp_path, name):
    """There may be hours of rounds, and others wait for each process."""
    path = tmp_path / 'bank'
    folder = BankFolder(path, SHAPE, 10, codec=ImageCodec(name))
    rounds = [put(folder, index, index) for index in range(5)]
    (path / rounds[3].shard.name).write_bytes(b'')  # the second one's
    assert exit_codes(_look_for_rounds, str(path)) == [34, 24]
    left = [made.shard.index for made in read_notes(path)]
    assert left == [0, 1, 2, 4]


def test_waits_for_targets_as_well(tmp_path, monkeypatch):
    awaited = []
    folder = BankFolder(tmp_path / 'bank', SHAPE, 10)
    folder.expect_targets(kind_of(0), write=True)
    made = put(folder, 0, 0, targets_of(5, 0, 0))
    bank = ImageBank()
    bank.open(tmp_path / 'bank', SHAPE, 10)
    bank.expect_targets(kind_of(0))
    monkeypatch.setattr(module, '_await', lambda path: awaited.append(path))
    bank.add_rounds([made])
    assert [path.name for path in awaited] == [
        '000000.npy',
        '000000.targets.npy',
    ]


@pytest.mark.parametrize(
    'reason, changes',
    [
        ('seed, student, teacher or synth', dict(run='b' * 64)),
        ('other targets', dict(kind=kind_of(0, 'c'))),
        ('no process has such a round', dict(numbers={0: 0, 1: 2})),
        ('no process has such a round', dict(numbers={0: 0})),
    ],
)
def test_rounds_that_are_not_of_the_run_are_left_out(
    tmp_path, monkeypatch, reason, changes
):
    """They are removed and named, and those of other epochs are not."""
    folder = BankFolder(tmp_path / 'bank', SHAPE, 10)
    kind = kind_of(0)
    folder.expect_targets(kind, write=True)
    folder.append(*batch(), -1, 0, True, targets_of(5, 0, 0))
    folder.expect_targets(kind, write=True)
    made = [
        put(folder, index, 5 + index, targets_of(5, 0, index))
        for index in range(2)
    ]
    spoilt = made[1]._replace(
        **{k: v for k, v in changes.items() if k != 'numbers'}
    )
    write_note(folder.path, spoilt)
    later = folder.write_round(*batch(), 3, 0, targets_of(5, 0, 0), 9)
    write_note(folder.path, later._replace(run='d' * 64))
    bank = ImageBank()
    bank.open(folder.path, SHAPE, 10)
    said = []
    monkeypatch.setattr(
        MMLogger, 'warning', lambda self, text, *_: said.append(text)
    )
    numbers = changes.get('numbers', {0: 0, 1: 1})
    numbers = {index: number + 5 for index, number in numbers.items()}
    found = loose_rounds(bank, 0, numbers, RUN)
    assert found == {0: made[0]}
    (text,) = said
    assert 'are left out: 1. The reason: ' in text and reason in text
    left = {path.name for path in folder.path.glob('*0000*')}
    assert left == {
        *('000000.npy', '000000.targets.npy', 'log_000000.jsonl'),
        *('000005.npy', '000005.targets.npy', 'note_000005.json'),
        *('000009.npy', '000009.targets.npy', 'note_000009.json'),
    }


@pytest.mark.parametrize(
    'option, is_same',
    [
        ({}, True),
        ({'randomness.seed': 5}, False),
        ({'synthesizer.batch_size': 8}, False),
        ({'synthesizer.optimizer.lr': 0.5}, False),
        ({'init_iters': 3}, False),
        ({'max_retries': 5}, True),
        ({'teacher': 1}, False),
    ],
)
def test_what_a_note_says_of_its_run(
    tiny_runner, tmp_path, monkeypatch, option, is_same
):
    """Two rounds of one start, and another one that would go on with them."""
    runs = []

    def noted(bank, epoch, numbers, run):
        runs.append(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(round_module, 'loose_rounds', noted)
    for changes in ({}, option):
        runner = tiny_runner(
            resume=True,
            **{
                key
                if '.' in key and 'synth' not in key
                else f'default_hooks.synthesis.{key}': value
                for key, value in changes.items()
                if key != 'teacher'
            },
        )
        if 'teacher' in changes:
            next(runner.model.teachers.parameters()).data.add_(1)
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    assert (runs[0] == runs[1]) == is_same


def test_rounds_for_a_student_are_of_that_student(tiny_runner, monkeypatch):
    runs, found = [], round_module.loose_rounds

    def noted(bank, epoch, numbers, run):
        runs.append(run)
        return found(bank, epoch, numbers, run)

    monkeypatch.setattr(round_module, 'loose_rounds', noted)
    tiny_runner('a').train()
    tiny_runner('b').train()
    tiny_runner(
        'c', **{'optim_wrapper.architecture.optimizer.lr': 0.02}
    ).train()
    first, again, other = runs[:3], runs[3:6], runs[6:]
    assert len({*first}) == 3 and first == again
    # Before its first epoch the student is the same.
    assert first[:2] == other[:2] and first[2] != other[2]


def test_a_run_of_fewer_processes_leaves_nothing(tiny_runner, tmp_path):
    """Of four processes that were killed, in another format than now."""
    tiny_runner(**{'train_cfg.max_epochs': 1}).train()
    path = tmp_path / 'run/bank'
    folder = BankFolder(path)
    shape, number = folder.image_shape, folder.next_number
    images = np.zeros((16, *shape), np.uint8)
    labels = np.zeros(16, np.int64)
    png = BankFolder(path, codec=ImageCodec('png'))
    for index in range(4):
        for epoch in (0, 1):
            made = png.write_round(
                images, labels, epoch, index, None, number + 4 * epoch + index
            )
            write_note(path, made._replace(run=RUN))
    for name in ('000099.png.npy', '000098.targets.npy', 'log_000007.jsonl'):
        (path / name).touch()
    (path / 'note_000077.json').write_text('{')
    (path / 'of the user.npy').touch()
    tiny_runner(resume=True).train()
    folder = BankFolder(path)
    assert {p.name for p in path.iterdir()} == {
        *(shard.name for shard in folder.shards),
        *('manifest.json', 'log_000000.jsonl', 'of the user.npy'),
    }
    assert [s.format for s in folder.shards] == ['raw'] * 4

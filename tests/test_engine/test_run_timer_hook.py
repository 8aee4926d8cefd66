# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import re
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from mmengine.runner import EpochBasedTrainLoop

from csd_mmrazor.engine.run_plan import validations_left
from csd_mmrazor.models import CSDDistillation
from csd_mmrazor.utils import Progress
from csd_mmrazor.utils.scalars import read_scalars

INITIAL, SYNTHESIS, STUDENT, VALIDATION = 2.0, 4.0, 8.0, 16.0


@pytest.fixture
def simulated(monkeypatch):
    """A clock that goes on by so much for each step, and not by itself."""
    now = [1000.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])

    def after(owner, name, seconds):
        method = getattr(owner, name)

        def slow(self, *args, **kwargs):
            now[0] += seconds(self) if callable(seconds) else seconds
            return method(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, slow)

    after(
        Progress,
        'step',
        lambda p: INITIAL if p.kind == 'initial' else SYNTHESIS,
    )
    after(CSDDistillation, 'train_step', STUDENT)
    after(CSDDistillation, 'val_step', VALIDATION)
    return now


def etas(runner):
    """Lines of progress, and the seconds that they say are left."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            text = record.getMessage()
            is_progress = re.search(
                r'Synthesis, .*step|Epoch\(\w+\) +\[.*\d/\d+\] .*time', text
            )
            # The last line of a validation is its result.
            if is_progress and 'accuracy' not in text:
                d, h, m, s = re.search(
                    r'eta: (?:(\d+) days?, )?(\d+):(\d+):(\d+)', text
                ).groups(default=0)
                left = timedelta(
                    days=int(d), hours=int(h), minutes=int(m), seconds=int(s)
                )
                found.append((text, left.total_seconds(), time.monotonic()))

    runner.logger.addHandler(Handler())
    return found


def test_every_line_has_the_time_of_the_whole_run(tiny_runner, simulated):
    runner = tiny_runner(
        **{
            'default_hooks.synthesis.progress_interval': 0,
            'default_hooks.synthesis.rounds': 2,
            'train_cfg.max_epochs': 4,
            'train_cfg.val_interval': 3,
            'val_dataloader.batch_size': 90,
            'val_dataloader.num_workers': 0,
        }
    )
    found = etas(runner)
    start = simulated[0]
    runner.train()
    end = simulated[0]
    # 2 initial rounds of 2 steps; in 4 epochs 2 rounds of 2 steps and 3
    # student steps each; epochs 3 and 4 are validated, in 4 batches.
    assert end - start == (
        4 * INITIAL + 4 * (4 * SYNTHESIS + 3 * STUDENT) + 2 * 4 * VALIDATION
    )
    assert len(found) >= 4 + 16 + 12
    kinds = {re.match(r'\w+', text)[0] for text, _, _ in found}
    assert kinds == {'Synthesis', 'Epoch'}
    # Once everything has come up, it is right to the second.
    first = next(i for i, f in enumerate(found) if 'Epoch(val)' in f[0])
    for text, left, now in found[first:]:
        assert left == pytest.approx(end - now, abs=1), text
    # Before, what has come up is.
    for text, left, now in found[:first]:
        assert left >= end - now - 2 * 4 * VALIDATION - (
            (SYNTHESIS - INITIAL) * 16 + STUDENT * 12
        ), text


def test_what_each_part_took_is_logged(tiny_runner, simulated):
    runner = tiny_runner()
    runner.train()
    scalars = read_scalars(runner.work_dir)
    assert scalars['time/initial'] == {0: 4 * INITIAL}
    assert scalars['time/synthesis'] == {0: 2 * SYNTHESIS, 1: 2 * SYNTHESIS}
    assert scalars['time/student'] == {0: 3 * STUDENT, 1: 3 * STUDENT}
    assert scalars['time/validation'] == {0: VALIDATION, 1: VALIDATION}


def test_a_resumed_run_counts_what_is_left(tiny_runner, simulated):
    tiny_runner().train()
    runner = tiny_runner(
        resume=True,
        **{
            'train_cfg.max_epochs': 4,
            'default_hooks.synthesis.progress_interval': 0,
        },
    )
    found = etas(runner)
    runner.train()
    end = simulated[0]
    first = next(i for i, f in enumerate(found) if 'Epoch(train)' in f[0])
    for text, left, now in found[first:]:
        assert left == pytest.approx(end - now, abs=1), text


@pytest.mark.parametrize('end', [1, 7, 12])
@pytest.mark.parametrize('begin', [1, 3, 12])
@pytest.mark.parametrize('interval', [1, 3, 5, 20])
def test_validations_left(begin, end, interval):
    """Against a count by MMEngine's own condition."""
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop.val_begin, loop.val_interval = begin, interval
    for done in range(end + 1):
        runner = SimpleNamespace(
            train_loop=loop, val_loop=1, epoch=done, max_epochs=end
        )
        due = [
            e
            for e in range(done + 1, end + 1)
            if e >= begin and (e % interval == 0 or e == end)
        ]
        assert validations_left(runner) == len(due)
    runner.val_loop = None
    assert validations_left(runner) == 0

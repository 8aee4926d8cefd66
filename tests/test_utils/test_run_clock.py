# Copyright (c) csd_mmrazor developers. All rights reserved.
import re
from datetime import timedelta

import pytest

from csd_mmrazor.utils import Progress, progress
from csd_mmrazor.utils.run_clock import RunClock


def test_all_kinds_count():
    clock = RunClock(dict(a=2.0, b=10.0, c=1.0), dict(c='b'))
    clock.left.update(a=5, b=3, c=4)
    # c takes a second more than b.
    assert clock.remaining() == 5 * 2 + 3 * 10 + 4 * (10 + 1)
    clock.spend('b', 2, 8.0)
    assert clock.remaining() == 5 * 2 + 3 * 4 + 4 * (4 + 1)
    clock.spend('c', 1, 3.0)
    clock.spend('c', 0, 3.0)  # what belongs to it
    assert clock.remaining() == 5 * 2 + 3 * 4 + 4 * 6
    clock.left.update(unknown=9)
    assert clock.remaining() == 5 * 2 + 3 * 4 + 4 * 6
    assert RunClock().remaining() == 0


@pytest.fixture
def now(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    return now


def test_progress_of_a_part_tells_the_end_of_the_whole(now, monkeypatch):
    lines = []
    monkeypatch.setattr(
        progress.MMLogger,
        'get_current_instance',
        lambda: type('', (), {'info': lines.append}),
    )
    clock = RunClock()
    clock.left.update(other=7)
    clock.spend('other', 1, 100.0)
    loop = Progress('epoch 2', 3, 4, 10, clock, later=20)
    for _ in range(3):
        for step in range(4):
            now[0] += 5
            loop.step(step + 1)
        now[0] += 2  # the images are stored
        loop.end_round()
    # Each second step has a line.
    assert [re.sub(', eta.*', '', line) for line in lines] == [
        f'Synthesis, epoch 2: round {r}/3, step {s}/4'
        for r in (1, 2, 3)
        for s in (2, 4)
    ]
    found = [re.search('eta: (.*)', line)[1] for line in lines]
    took, expected = 0, []
    for done in range(2, 14, 2):
        # Two seconds belong to each round that is stored.
        took = 5 * done + 2 * ((done - 1) // 4)
        left = 12 - done + 20
        seconds = int(took / done * left + 7 * 100)
        expected.append(str(timedelta(seconds=seconds)))
    assert found == expected
    assert clock.left['synthesis'] == 20


def test_a_round_that_is_tried_again_counts_again(now):
    clock = RunClock()
    loop = Progress('a', 1, 10, clock=clock)
    assert clock.left == dict(synthesis=10)
    loop.step(8)
    assert clock.left == dict(synthesis=2)
    loop.step(1)
    assert clock.left == dict(synthesis=9)
    loop.end_round()
    assert clock.left == dict(synthesis=0)

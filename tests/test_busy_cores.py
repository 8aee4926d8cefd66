# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import subprocess
import sys
import time

import pytest

from csd_mmrazor import busy_cores
from csd_mmrazor.busy_cores import BusyCores, advice_of, sleep_on_busy_cores

# Says so when it has kept a core busy for a second.
BURN = """
import time
while time.process_time() < 1: pass
print('done', flush=True)
while True: pass
"""


def own_cores(monkeypatch, *cores):
    """Those that this process may use."""
    monkeypatch.setattr(
        os, 'sched_getaffinity', lambda _: {*cores}, raising=False
    )


@pytest.fixture
def another():
    """A process that has just kept a core busy."""
    burning = subprocess.Popen(
        [sys.executable, '-c', BURN], stdout=subprocess.PIPE
    )
    yield burning
    burning.kill()
    burning.wait()


@pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux')
def test_what_another_process_takes(request):
    if not busy_cores._cores()[0]:
        pytest.skip('/proc/stat does not count here')
    busy, start = BusyCores(), time.monotonic()
    another = request.getfixturevalue('another')
    assert another.stdout.readline() == b'done\n'
    seconds = time.monotonic() - start
    assert busy.others() * seconds > 0.8  # as much as there is, on average


@pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux')
def test_own_work_counts_for_nothing(tmp_path, monkeypatch):
    """Of 8 s on two cores, this process took 3 and others 4."""
    stat = tmp_path / 'stat'
    monkeypatch.setattr(busy_cores, '_STAT', stat)
    now = dict(clock=10.0, own=5.0)
    monkeypatch.setattr(time, 'monotonic', lambda: now['clock'])
    monkeypatch.setattr(time, 'process_time', lambda: now['own'])
    own_cores(monkeypatch, 0, 1)
    lines = 'cpu  1 2\ncpu0 0 0 0 9 9 0 0 0 0 0\ncpu1 {}\nintr 9\n'
    stat.write_text(lines.format('100 0 50 900 7 3 2 1 0 0'))
    busy = BusyCores()
    now.update(clock=18.0, own=8.0)
    stat.write_text(lines.format('600 50 150 999 8 13 12 31 0 0'))
    assert busy.others() == pytest.approx((7.0 - 3.0) / 8)
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    assert 'other processes keep 0.5 of 2 cores busy' in busy.advice(2)


@pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux')
@pytest.mark.parametrize(
    'own, seconds',
    [
        ((1, 2), 3.0),  # the others are for other containers and jobs
        ((0,), 8.0),
        ((2, 9), 14.0),  # one that is counted by another number
    ],
)
def test_only_own_cores_count(own, seconds, tmp_path, monkeypatch):
    lines = ['cpu  1400 0 0 7 0 0 0 0 0 0']
    for core, ticks in enumerate((800, 100, 200, 300)):
        lines.append(f'cpu{core} {ticks} 0 0 7 0 0 0 0 0 0')
    (tmp_path / 'stat').write_text('\n'.join([*lines, 'intr 9', '']))
    monkeypatch.setattr(busy_cores, '_STAT', tmp_path / 'stat')
    own_cores(monkeypatch, *own)
    count = 4 if 9 in own else len(own)
    assert busy_cores._cores() == (seconds, count)


@pytest.mark.parametrize(
    'text', [None, '', 'cpu 1 2\n', 'cpu a b c d e f g h']
)
def test_other_systems(text, tmp_path, monkeypatch):
    monkeypatch.setattr(busy_cores, '_STAT', tmp_path / 'stat')
    if text is not None:
        (tmp_path / 'stat').write_text(text)
    busy = BusyCores()
    time.sleep(0.01)
    assert busy.others() == 0 and busy.advice(2) == ''


@pytest.mark.parametrize(
    'others, cores, threads, fewer',
    [
        (0.0, 2, 2, None),
        (0.2, 2, 2, None),
        (1.0, 2, 2, 1),
        (2.0, 2, 2, 1),
        (1.0, 2, 1, None),
        (1.0, 4, 2, None),
        (20.0, 64, 32, None),
        (40.0, 64, 32, 24),
        (0.4, 2, 2, 1),
        (1.0, 0, 2, None),
        (0.0, 1, 8, None),  # the first thread is bound to it
    ],
)
def test_advice(others, cores, threads, fewer, monkeypatch):
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    found = advice_of(others, cores, threads)
    assert found.endswith(f'OMP_NUM_THREADS={fewer}') == bool(fewer)
    assert ('OMP_WAIT_POLICY=PASSIVE' in found) == bool(fewer)
    monkeypatch.setenv('OMP_WAIT_POLICY', 'passive')
    assert advice_of(others, cores, threads) == ''


@pytest.mark.parametrize(
    'others, env, found',
    [
        (1.0, {}, 'PASSIVE'),
        (0.0, {}, None),
        (1.0, dict(OMP_NUM_THREADS='1'), None),
        (1.0, dict(OMP_NUM_THREADS='2'), 'PASSIVE'),
        (1.0, dict(OMP_NUM_THREADS='2,1'), 'PASSIVE'),
        (1.0, dict(OMP_WAIT_POLICY='ACTIVE'), 'ACTIVE'),
    ],
)
def test_threads_sleep_where_others_need_the_cores(
    others, env, found, monkeypatch
):
    for name in ('OMP_NUM_THREADS', 'OMP_WAIT_POLICY'):
        # Of this test, to be restored after it.
        monkeypatch.setenv(name, env.get(name, ''))
        if name not in env:
            monkeypatch.delenv(name)
    monkeypatch.setattr(busy_cores, '_cores', lambda: (1.0, 2))
    monkeypatch.setattr(BusyCores, 'others', lambda _: others)
    sleep_on_busy_cores(0)
    assert os.environ.get('OMP_WAIT_POLICY') == found

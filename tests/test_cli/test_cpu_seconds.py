# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Against what the system says that processes took."""

import os
import signal
import time

import pytest
from helpers import TIMEOUT

from csd_mmrazor.cli.cpu_seconds import noted_cpu_seconds, read_cpu_seconds


def work(seconds):
    """Take some processor time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def attempt(work_dir, number, then):
    """A process that begins an attempt; what the system says it took."""
    pid = os.fork()
    if pid == 0:
        try:
            work(0.05)  # none of it is of the run
            with noted_cpu_seconds(work_dir):
                folder = work_dir / f'20260101_00000{number}'
                folder.mkdir(parents=True)
                then(folder / 'cpu_seconds')
        finally:
            os._exit(0)
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_utime + usage.ru_stime


def until_noted(path):
    """Work until some of it is noted, and be killed."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        if path.exists() and float(path.read_text() or 0) > 0.1:
            os.kill(os.getpid(), signal.SIGKILL)


def test_attempts_are_added_up(tmp_path):
    status, first = attempt(tmp_path, 1, until_noted)
    assert status == signal.SIGKILL
    noted = read_cpu_seconds(tmp_path)
    assert 0.1 < noted <= first
    status, second = attempt(tmp_path, 2, lambda _: work(0.2))
    assert status == 0
    both = read_cpu_seconds(tmp_path)
    assert noted + 0.19 <= both <= noted + second - 0.05 + 0.01
    # A third one noted nothing: earlier, by another tool, or on a full disk.
    (tmp_path / '20260101_000003').mkdir()
    assert read_cpu_seconds(tmp_path) is None
    (tmp_path / '20260101_000003/cpu_seconds').touch()
    assert read_cpu_seconds(tmp_path) is None


@pytest.mark.parametrize('name', ['bank', '20260101', 'seed0'])
def test_other_folders_are_no_attempts(tmp_path, name):
    with noted_cpu_seconds(tmp_path / 'none'):
        pass
    assert read_cpu_seconds(tmp_path / 'none') is None
    (tmp_path / name).mkdir()
    assert read_cpu_seconds(tmp_path) is None

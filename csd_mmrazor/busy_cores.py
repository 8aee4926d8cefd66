# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What other processes leave of this one's cores; needs no torch."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Tuple

# Where Linux counts the time of all cores, in hundredths of a second.
_STAT, _TICKS = Path('/proc/stat'), 100
# Cores that others may take of those that the threads need: what any machine
# does besides.
_BESIDES = 0.3
WAIT_POLICY, SLEEPING = 'OMP_WAIT_POLICY', 'PASSIVE'


class BusyCores:
    """Measures, from its creation on, how many cores others keep busy."""

    def __init__(self) -> None:
        self._start = self._now()

    def others(self) -> float:
        """Cores, on average; 0 where that is not known."""
        begun, now = self._start, self._now()
        seconds, busy, own = (b - a for a, b in zip(begun, now))
        return max(busy - own, 0.0) / seconds if seconds > 0 else 0.0

    @staticmethod
    def _now() -> Tuple[float, float, float]:
        """Seconds: of a clock, of busy cores and of this process."""
        busy, _ = _cores()
        return time.monotonic(), busy, time.process_time() if busy else 0.0

    def advice(self, threads: int) -> str:
        """What to say of threads that wait for a core; '' if none do.

        Args:
            threads (int): Of this process.
        """
        _, cores = _cores()
        return advice_of(self.others(), cores, threads)


def are_too_few(others: float, cores: int, threads: int) -> bool:
    """Whether threads have to wait for a core.

    Each part of a step ends with its slowest thread, so that one of two that
    shares its core with another process makes steps many times as slow.

    Args:
        others (float): Cores that other processes keep busy.
        cores (int): That this process may use; 0 if not known.
        threads (int): Of this process.
    """
    free = cores - others
    # Threads that OpenMP has bound may use other cores than the first of them.
    return (
        threads > 1
        and cores > 0
        and others >= _BESIDES
        and free <= threads - _BESIDES
    )


def advice_of(others: float, cores: int, threads: int) -> str:
    """What to say where threads have to wait for a core.

    Args:
        others, cores, threads: As of :func:`are_too_few`.

    Returns:
        str: Empty if none has to, or if those that wait sleep: then their
        cores do the work of others.
    """
    are_asleep = os.environ.get(WAIT_POLICY, '').upper() == SLEEPING
    if are_asleep or not are_too_few(others, cores, threads):
        return ''
    fewer = min(max(int(cores - others + _BESIDES), 1), threads - 1)
    return (
        f'other processes keep {others:.1f} of {cores} cores busy, so that '
        f'the {threads} threads of this one wait for each other. It may be '
        f'faster with {WAIT_POLICY}={SLEEPING}, set before torch is imported, '
        f'or with OMP_NUM_THREADS={fewer}'
    )


def sleep_on_busy_cores(seconds: float = 0.1) -> None:
    """Let threads that wait for others sleep if the machine is busy.

    By default they keep a core busy with waiting, which is faster where
    nobody else needs it, and several times slower where somebody does. OpenMP
    reads the choice once, when torch is imported.

    Args:
        seconds (float): Of the look at the machine. Defaults to 0.1.
    """
    if WAIT_POLICY in os.environ:
        return
    busy, (_, cores) = BusyCores(), _cores()
    threads = os.environ.get('OMP_NUM_THREADS', '')
    number = int(threads) if threads.isdecimal() else cores
    if number > 1:
        time.sleep(seconds)
        if are_too_few(busy.others(), cores, number):
            os.environ[WAIT_POLICY] = SLEEPING


def _cores() -> Tuple[float, int]:
    """Seconds that this process's cores were busy, and how many there are.

    What is done on others, of which containers and jobs have no part, makes
    no thread wait.
    """
    with suppress(OSError, ValueError, AttributeError):
        ticks = {}
        for line in _STAT.read_text().splitlines():
            name, _, counts = line.partition(' ')
            if name.startswith('cpu') and name != 'cpu':
                ticks[name[3:]] = [*map(int, counts.split()[:8])]
        own = {str(core) for core in os.sched_getaffinity(0)}
        if not own <= {*ticks}:  # containers may count theirs from 0
            own = {*ticks}
        busy = 0
        for core in own:
            user, nice, system, _, _, irq, softirq, steal = ticks[core]
            busy += user + nice + system + irq + softirq + steal
        return busy / _TICKS, len(own)
    return 0.0, 0

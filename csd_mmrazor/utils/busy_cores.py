# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What other processes leave of a machine's cores."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Tuple

import torch

# Where Linux counts the time of all cores, in hundredths of a second.
_STAT, _TICKS = Path('/proc/stat'), 100
# Cores that others may take of those that the threads need: what any machine
# does besides.
_BESIDES = 0.3


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

    def advice(self) -> str:
        """What to say of threads that wait for a core; '' if none do."""
        _, cores = _cores()
        return advice_of(self.others(), cores, torch.get_num_threads())


def advice_of(others: float, cores: int, threads: int) -> str:
    """What to say where threads have to wait for a core.

    Each part of a step ends with its slowest thread, so that one of two that
    shares its core with another process makes steps many times as slow.

    Args:
        others (float): Cores that other processes keep busy.
        cores (int): Of the machine; 0 if not known.
        threads (int): Of this process.

    Returns:
        str: Empty if none has to, or if those that wait sleep.
    """
    free = cores - others
    # Threads that sleep lose little: their cores do the work of others.
    if os.environ.get('OMP_WAIT_POLICY', '').upper() == 'PASSIVE':
        return ''
    if threads < 2 or not cores or free > threads - _BESIDES:
        return ''
    fewer = min(max(int(free + _BESIDES), 1), threads - 1)
    return (
        f'other processes keep {others:.1f} of {cores} cores busy, so that '
        f'the {threads} threads of this one wait for each other. It may be '
        'faster with OMP_WAIT_POLICY=PASSIVE, set before torch is imported, '
        f'or with OMP_NUM_THREADS={fewer}'
    )


def _cores() -> Tuple[float, int]:
    """Seconds that all cores were busy, and how many there are."""
    with suppress(OSError, ValueError, IndexError):
        lines = _STAT.read_text().splitlines()
        user, nice, system, _, _, irq, softirq, steal = (
            int(ticks) for ticks in lines[0].split()[1:9]
        )
        cores = sum(line.startswith('cpu') for line in lines) - 1
        return (user + nice + system + irq + softirq + steal) / _TICKS, cores
    return 0.0, 0

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Ends a run between two steps when it is asked to, to be started again."""

import signal
from typing import Any, List

# What a run ends with that is to be started again: EX_TEMPFAIL of sysexits.
REQUEUE = 75
# Sent before a time limit, or before the machine is taken away.
SIGNALS = [
    getattr(signal, name)
    for name in ('SIGUSR1', 'SIGTERM')
    if hasattr(signal, name)  # not on Windows
]
_received: List[int] = []


def stop_on_signals() -> None:
    """Note ``SIGNALS`` from now on in place of ending at once."""
    _received.clear()
    for number in SIGNALS:
        signal.signal(number, _note)


def _note(number: int, _: Any) -> None:
    _received.append(number)


def is_asked_to_stop() -> bool:
    """Whether a signal came."""
    return bool(_received)


def stop_if_asked() -> None:
    """End the program between two steps if a signal came.

    What is whole is on the disk by then: rounds, and checkpoints.

    Raises:
        SystemExit: With status ``REQUEUE``.
    """
    if _received:
        raise SystemExit(REQUEUE)

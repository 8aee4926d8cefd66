# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Processor time of a run, with what its killed attempts took."""

import re
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, List, Optional

_FILE = 'cpu_seconds'
_EVERY = 0.5


@contextmanager
def noted_cpu_seconds(work_dir: Path) -> Iterator[None]:
    """Note what this process takes while the context is open.

    It goes to the folder of the attempt that begins meanwhile, twice a
    second, so that little is lost with a process that is killed.

    Args:
        work_dir (Path): Of a run, which no other process is in.
    """
    start, over = time.process_time(), threading.Event()
    before = {*_attempts(work_dir)}

    def note() -> None:
        for folder in {*_attempts(work_dir)} - before:
            # Of one length and without a buffer, and so whole after a kill.
            text = f'{time.process_time() - start:12.2f}\n'
            with suppress(OSError):
                file = folder / _FILE
                file.touch()
                with file.open('r+b', buffering=0) as opened:
                    opened.write(text.encode())

    def keep_noting() -> None:
        while not over.wait(_EVERY):
            note()

    thread = threading.Thread(target=keep_noting, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        note()


def read_cpu_seconds(work_dir: Path) -> Optional[float]:
    """What all attempts of a run took; of a killed one, all but its end.

    Args:
        work_dir (Path): Of the run.

    Returns:
        float | None: None if it is not known of one of them.
    """
    found = _attempts(work_dir)
    try:
        return sum(float((f / _FILE).read_text()) for f in found) or None
    except (OSError, ValueError):
        return None


def _attempts(work_dir: Path) -> List[Path]:
    """Folders that MMEngine names by the time of a start."""
    return [
        path
        for path in work_dir.glob('*')
        if re.fullmatch(r'\d{8}_\d{6}', path.name)
    ]

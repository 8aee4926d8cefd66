# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The seed that a run without one has drawn, for when it is resumed.

A checkpoint has it as well, but there are images before the first one.
"""

from pathlib import Path
from typing import Optional, Union

from .files import own_file, write_file

SEED_FILE = 'seed.txt'


def note_seed(work_dir: Union[str, Path], seed: int) -> None:
    """Write the seed of a run to its work dir.

    Raises:
        ValueError: If something else is there; names the file.
    """
    noted_seed(work_dir)
    write_file(Path(work_dir, SEED_FILE), f'{seed}\n'.encode())


def noted_seed(work_dir: Union[str, Path]) -> Optional[int]:
    """The seed that a run has noted; None if there is none.

    Raises:
        ValueError: If something else is there; names the file.
    """
    path = Path(work_dir, SEED_FILE)
    if own_file(work_dir, SEED_FILE) is None:
        return None
    with open(path, 'rb') as file:
        text = file.read(20).decode(errors='replace').strip()
    if not text.isdecimal() or int(text) >= 2**32:
        raise ValueError(
            f'{path} should hold the seed of the run, 0..2**32-1, but has '
            f'{text!r}: set randomness.seed to that of the run, or, if there '
            'is none, choose another work dir.'
        )
    return int(text)

# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Iterator, Tuple

# The configs that are being read, each a base of the one before.
_heirs: ContextVar[Tuple[Path, ...]] = ContextVar('heirs', default=())


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Note that a config is being read, and refuse to begin it again.

    Args:
        path (str): The config. One that does not exist is left to its reader.

    Raises:
        ValueError: If it is a base of itself.
    """
    chain = (*_heirs.get(), Path(path))
    if any(
        Path(path).exists() and heir.exists() and heir.samefile(path)
        for heir in chain[:-1]
    ):
        raise ValueError(
            f'The config {path} inherits itself, by _base_ or read_base(): '
            f'{" > ".join(map(str, chain))}. Take one of them out.'
        )
    token = _heirs.set(chain)
    try:
        yield
    finally:
        _heirs.reset(token)

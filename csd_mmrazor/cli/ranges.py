# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Numbers and files that a command line may have."""

import argparse
import json
import math
from pathlib import Path
from typing import Any, Callable, Optional


def in_range(
    kind: Callable[[str], Any],
    lowest: float,
    highest: Optional[float] = None,
    above: bool = False,
) -> Callable[[str], Any]:
    """A ``type`` of argparse: numbers of a range.

    Args:
        kind (type): int or float.
        lowest (float): The least.
        highest (float, optional): The most. Defaults to None, any.
        above (bool): Whether ``lowest`` itself is too low. Defaults to
            False.

    Returns:
        Callable: Its errors say what the range is.
    """
    wanted = 'an integer' if kind is int else 'a number'
    wanted += f' above {lowest}' if above else f', {lowest} or more'
    if highest is not None:
        wanted += f', at most {highest}'

    def parse(text: str) -> Any:
        try:
            value = kind(text)
            float(value)  # which integers may be too large for
        except (ValueError, OverflowError):
            value = math.nan
        is_low = value <= lowest if above else value < lowest
        if (
            not math.isfinite(value)
            or is_low
            or (highest is not None and value > highest)
        ):
            raise argparse.ArgumentTypeError(
                f'should be {wanted}, but got {text!r}'
            )
        return value

    return parse


def json_to_write(text: str) -> str:
    """A ``type`` of argparse: a file of JSON, whose folder can be made.

    One that is there is replaced, and any other file refused.
    """
    path = Path(text)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f'cannot be written to ({error.strerror}): {text!r}'
        ) from error
    if not text or path.is_dir():
        raise argparse.ArgumentTypeError(f'should be a file, but got {text!r}')
    if path.is_file():
        try:
            json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise argparse.ArgumentTypeError(
                f'{text!r} is there, and is no JSON: it would be overwritten. '
                'Choose another name'
            ) from error
    return text


def check_replaced(table: Path, begin: str, *beside: Path) -> None:
    """Check that files would at most replace those of an earlier call.

    Args:
        table (Path): Of Markdown, by which those are told.
        begin (str): What it begins with if the command wrote it.
        *beside (Path): What is written with it.

    Raises:
        ValueError: If one is there that the command did not write.
    """
    is_own = table.is_file() and table.read_bytes().startswith(begin.encode())
    for path in (table, *beside):
        if path.exists() and not is_own:
            raise ValueError(
                f'{path} is there, and was not written by this command: it '
                'would be overwritten. Choose another name.'
            )

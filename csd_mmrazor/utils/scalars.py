# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
from pathlib import Path
from typing import Dict, Iterable, Optional, Tuple, Union

# Of a line, which is flat and some hundred letters long.
_MOST_LETTERS, _MOST_BRACKETS = 1_000_000, 100


def read_scalars(work_dir: Union[str, Path]) -> Dict[str, Dict[int, float]]:
    """What a run logged to MMEngine's local backend.

    Args:
        work_dir (str | Path): Of the run; of its attempts, the later counts.

    Returns:
        dict[str, dict[int, float]]: Values by tag and step; NaN and Inf are
        among them.
    """
    return scan_scalars(work_dir)[0]


def scan_scalars(
    work_dir: Union[str, Path],
) -> Tuple[Dict[str, Dict[int, float]], int]:
    """The same, and how many lines could not be read.

    A line is cut short where its run was killed. Whatever else is in a file
    is left out.
    """
    found: Dict[str, Dict[int, float]] = {}
    unreadable = 0
    for path in sorted(_files(work_dir)):
        with open(path, encoding='utf-8', errors='replace') as file:
            for line in iter(lambda: file.readline(_MOST_LETTERS), ''):
                values = _parse(line)
                step = values.get('step')
                if not _is_number(step) or step != step // 1:
                    unreadable += bool(line.strip())
                    continue
                for tag, value in values.items():
                    if _is_number(value, finite=False):
                        found.setdefault(tag, {})[int(step)] = value
    return found, unreadable


def start_of_scalar(
    work_dir: Union[str, Path], tag: str, step: int
) -> Optional[Path]:
    """The folder of the start that logged what :func:`read_scalars` found.

    Args:
        work_dir (str | Path): Of the run.
        tag (str): What was logged.
        step (int): When.

    Returns:
        Path | None: ``vis_data`` of that start; None if there is none.
    """
    for path in sorted(_files(work_dir), reverse=True):
        with open(path, encoding='utf-8', errors='replace') as file:
            for line in iter(lambda: file.readline(_MOST_LETTERS), ''):
                values = _parse(line)
                if values.get('step') == step and tag in values:
                    return path.parent
    return None


def _files(work_dir: Union[str, Path]) -> Iterable[Path]:
    return Path(work_dir).glob('*/vis_data/scalars.json')


def _parse(line: str) -> Dict:
    # The parser recurses without a limit of its own.
    if line.count('{') + line.count('[') > _MOST_BRACKETS:
        return {}
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _is_number(value: object, finite: bool = True) -> bool:
    """Whether it is a number that a float can be."""
    if type(value) not in (int, float):
        return False
    if finite or type(value) is int:
        return abs(value) < 1e300  # also no NaN
    return True

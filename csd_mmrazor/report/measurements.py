# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run measures for its report and no other file of it has.

``report.json`` of the work dir, rewritten after each epoch::

    {"version": 1,
     "classes": ["cat", ...],                names, if the data set has them
     "networks": {"teacher": {"weights": 23520842, "bytes": 94334216,
                              "multiplications": 1163e6,
                              "milliseconds": {"1": 12.1, "32": 210.0}},
                  "student": ...},           of one image, and of batches
     "machine": "...", "versions": {"torch": "2.11.0", ...},
     "validation": {"teacher": {"counts": [[class, answer, images], ...]},
                    "student": {"epoch": 8, "counts": ...}},
     "images": {"epoch": 10,                 of the bank, by shard and place
                "scores": [[shard, place, student's cross entropy,
                            student's class, teacher's class,
                            teacher's probability of the label], ...]}}
"""

import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

from ..utils import own_file, write_file
from ..utils.files import parse_json

FILE_NAME = 'report.json'
_VERSION = 1
# How files begin that were written here, of any release.
_BEGIN = b'{"version": '
_MOST_BYTES = 50_000_000
_MOST_LETTERS = 200
# Nothing of it is nested more deeply.
_MOST_DEPTH = 9
Measurements = Dict[str, Any]


def write_measurements(
    work_dir: Union[str, Path], found: Measurements
) -> None:
    """Write ``report.json``, atomically.

    Args:
        work_dir (str | Path): Of the run.
        found (dict): As above, without the version.

    Raises:
        ValueError: If a file of others is there.
    """
    path = Path(work_dir, FILE_NAME)
    if path.exists():
        with open(path, 'rb') as file:
            if file.read(len(_BEGIN)) != _BEGIN:
                raise ValueError(
                    f'{path} was not written by a run: it would be '
                    'overwritten. Choose another work dir.'
                )
    content = json.dumps(dict(version=_VERSION, **found))
    write_file(path, content.encode())


def read_measurements(work_dir: Union[str, Path]) -> Optional[Measurements]:
    """Read ``report.json``, and nothing but what can be in it.

    Args:
        work_dir (str | Path): Of the run.

    Returns:
        dict | None: As above, parts that are lacking empty; None if there is
        no such file.

    Raises:
        ValueError: If it is something else; says what is wrong.
    """
    path = own_file(work_dir, FILE_NAME)
    if path is None:
        return None
    try:
        return _parse(path)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(
            f'{path} cannot be used ({error}): delete it, and the run writes '
            'it again.'
        ) from error


def _parse(path: Path) -> Measurements:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f'more than {_MOST_BYTES} bytes')
    text = path.read_text(encoding='utf-8')
    found = _dict('what it holds', parse_json(text, _MOST_DEPTH))
    if found.get('version') != _VERSION:
        raise ValueError(f'version {found.get("version")!r:.50}')
    validation = _dict('validation', found.get('validation', {}))
    images = _dict('images', found.get('images', {}))
    return dict(
        classes=[_text('classes', v) for v in _list(found, 'classes')],
        networks={
            role: _network(role, value)
            for role, value in _dict(
                'networks', found.get('networks', {})
            ).items()
            if role in ('teacher', 'student')
        },
        machine=_text('machine', found.get('machine', '')),
        versions={
            _text('versions', k): _text('versions', v)
            for k, v in _dict('versions', found.get('versions', {})).items()
        },
        validation={
            role: _answers(role, value)
            for role, value in validation.items()
            if role in ('teacher', 'student')
        },
        images=dict(
            epoch=_number('images.epoch', images.get('epoch', 0), whole=True),
            scores=_scores(_list(images, 'scores')),
        ),
    )


def _network(role: str, value: object) -> Dict[str, Any]:
    found = _dict(role, value)
    numbers = {
        name: _number(f'{role}.{name}', found[name], whole=True)
        for name in ('weights', 'bytes', 'multiplications')
        if name in found
    }
    times = _dict(f'{role}.milliseconds', found.get('milliseconds', {}))
    return dict(
        numbers,
        milliseconds={
            int(batch): _number(f'{role}.milliseconds', time)
            for batch, time in times.items()
        },
    )


def _answers(role: str, value: object) -> Dict[str, Any]:
    found = _dict(role, value)
    counts = []
    for entry in _list(found, 'counts'):
        row = [_number(f'{role}.counts', v, whole=True) for v in entry]
        if len(row) != 3 or max(row[:2]) >= 10**6:
            raise ValueError(f'{role}.counts: {entry!r:.100}')
        counts.append(row)
    epoch = _number(f'{role}.epoch', found.get('epoch', 0), whole=True)
    return dict(epoch=epoch, counts=counts)


def _scores(entries: List) -> Dict[Tuple[str, int], Tuple]:
    """Scores by shard and place."""
    scores = {}
    for shard, place, loss, student, teacher, share in entries:
        key = _text('scores', shard), _number('scores', place, whole=True)
        scores[key] = (
            None if loss is None else _number('scores', loss),
            _number('scores', student, whole=True),
            _number('scores', teacher, whole=True),
            _number('scores', share),
        )
    return scores


def _dict(name: str, value: object) -> Dict:
    if not isinstance(value, dict):
        raise ValueError(f'{name} should be a dict: {value!r:.100}')
    return value


def _list(found: Dict, name: str) -> List:
    value = found.get(name)
    if value is not None and not isinstance(value, list):
        raise ValueError(f'{name} should be a list: {value!r:.100}')
    return value or []


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{name} should be texts: {value!r:.100}')
    return value[:_MOST_LETTERS]


def _number(name: str, value: object, whole: bool = False) -> Any:
    kinds = (int,) if whole else (int, float)
    is_right = type(value) in kinds and 0 <= value < 1e18
    if not is_right or not math.isfinite(value):
        raise ValueError(f'{name} should be a number: {value!r:.100}')
    return value

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Rounds that are on the disk, but not in the manifest of a bank yet.

Each process writes the rounds that it makes itself: a shard, what is beside
it, and last a note of them, ``note_000012.json``. Once all of a group are
there, the first process puts them into the manifest, in their order. Whoever
is killed in between leaves notes, and what is noted is not made again, if it
is of the same run: a note says what its round was made from.
"""

import json
import re
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Union

from ..utils.files import own_file, parse_json, write_file
from .manifest import NUMBER, Shard, TargetKind, parse_shard

_NOTE_NAME = re.compile(rf'note_{NUMBER}\.json')
_SHA256 = re.compile(r'[0-9a-f]{64}')
_MOST_BYTES = 100_000  # of a note


class Round(NamedTuple):
    """The files of a round."""

    shard: Shard
    targets: str = ''  # SHA-256 of what is beside the shard; '' for nothing
    kind: Optional[TargetKind] = None  # of the targets
    run: str = ''  # SHA-256 of what it was made from; '' if it is not known


def note_name(shard: Shard) -> str:
    """What the note of a round is called."""
    return f'note_{shard.number:06d}.json'


def write_note(folder: Path, made: Round) -> None:
    """Note a round whose files are written.

    Args:
        folder (Path): Of the bank.
        made (Round): What to note.
    """
    content: Dict[str, Any] = dict(shard=made.shard.entry(), run=made.run)
    if made.kind is not None:
        content.update(targets=made.targets, kind=made.kind._asdict())
    write_file(folder / note_name(made.shard), json.dumps(content).encode())


def remove_note(folder: Path, shard: Shard) -> None:
    """Forget a note, if there is one."""
    (folder / note_name(shard)).unlink(missing_ok=True)


def read_notes(folder: Union[str, Path]) -> List[Round]:
    """The rounds that are noted, and whose files are there.

    A note that cannot be used is passed over: its round is made again.

    Args:
        folder (str | Path): Of the bank; it need not exist.
    """
    found = []
    for path in Path(folder).glob('note_*.json'):
        made = _read_note(path)
        if made is None:
            continue
        names = [made.shard.name]
        if made.kind is not None:
            names.append(targets_name(made.shard.name))
        if all(own_file(folder, name) for name in names):
            found.append(made)
    return sorted(found, key=lambda made: made.shard.number)


def is_note(name: str) -> bool:
    """Whether a file is called as a note is."""
    return bool(_NOTE_NAME.fullmatch(name))


def _read_note(path: Path) -> Optional[Round]:
    try:
        if (
            not _NOTE_NAME.fullmatch(path.name)
            or own_file(path.parent, path.name) is None
        ):
            return None
        with open(path, 'rb') as file:
            content = parse_json(file.read(_MOST_BYTES).decode())
        run = content['run']
        if not isinstance(run, str) or not _SHA256.fullmatch(run):
            return None
        made = Round(parse_shard(content['shard']), run=run)
        if 'kind' in content:
            kind = TargetKind(**content['kind'])
            checksum = content['targets']
            if not _SHA256.fullmatch(checksum):
                return None
            made = made._replace(targets=checksum, kind=kind)
    except (ValueError, TypeError, KeyError):
        return None
    is_its_own = note_name(made.shard) == path.name
    return made if is_its_own else None


def targets_name(name: str) -> str:
    """The file with the targets of a shard, by the shard's name."""
    return name.replace('.npy', '.targets.npy')

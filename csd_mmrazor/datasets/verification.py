# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which files of a bank were checked by their checksums, and stay so.

A file counts as checked as long as it is the one of then, with the size and
the times of change of then, which ``verified.json`` beside it says.
"""

import json
from contextlib import suppress
from functools import partial
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_dist_info,
    is_main_process,
)

from ..utils.files import own_file, parse_json, write_file
from ..utils.threads import in_threads
from .bank_folder import BankFolder
from .manifest import Shard
from .shard_files import BankError, ShardFile

_NOTE = 'verified.json'
_MOST_MARK = 400  # bytes of what it says of a file
# A shard, and whether the targets beside it are meant.
_File = Tuple[Shard, bool]


def unverified(folder: BankFolder, everything: bool) -> List[_File]:
    """Files that are to be checked.

    Args:
        folder (BankFolder): The bank.
        everything (bool): Whether to check all again.

    Returns:
        list[tuple[Shard, bool]]: Shards, and whether the targets beside it
        are meant.
    """
    known = {} if everything else _noted(folder)
    found = []
    for each in _all_files(folder):
        file = folder.file_of(*each)
        if known.get(file.path.name) != _mark(file):
            found.append(each)
    return found


def verify(folder: BankFolder, files: Sequence[_File]) -> str:
    """Check files by their checksums.

    Args:
        folder (BankFolder): The bank.
        files (sequence[tuple[Shard, bool]]): Some of :func:`unverified`.

    Returns:
        str: What is wrong with the first that is lost, cut short or altered;
        empty if nothing is.
    """
    for message in in_threads(partial(_fault, folder), files):
        if message:
            return str(message)
    return ''


def verify_together(folder: BankFolder, everything: bool) -> None:
    """Check a bank's files, each process a part of them.

    Args:
        folder (BankFolder): The bank.
        everything (bool): Whether to check all again.

    Raises:
        BankError: If one is lost, cut short or altered.
    """
    new: List[Any] = [None]
    if is_main_process():
        # Nodes need not see the same times and numbers of files.
        new = [unverified(folder, everything)]
    broadcast_object_list(new)
    rank, world_size = get_dist_info()
    for message in all_gather_object(verify(folder, new[0][rank::world_size])):
        if message:
            raise BankError(message)


def note_verified(folder: BankFolder) -> None:
    """Note that all files were found to be right."""
    files = [folder.file_of(*each) for each in _all_files(folder)]
    marks = {each.path.name: _mark(each) for each in files}
    if files and marks != _noted(folder):
        with suppress(OSError):  # it is checked again then
            write_file(folder.path / _NOTE, json.dumps(marks).encode())


def is_noted(folder: BankFolder) -> bool:
    """Whether it is noted of some files that they were checked."""
    return bool(_noted(folder))


def _noted(folder: BankFolder) -> Dict[str, object]:
    """What is noted, if that is what :func:`note_verified` can write."""
    most = _MOST_MARK * (2 * len(folder.shards) + 1)
    if own_file(folder.path, _NOTE) is None:
        return {}  # none, or no regular file of the folder
    try:
        with open(folder.path / _NOTE, 'rb') as file:
            content = file.read(most + 1)
        found = parse_json(content.decode()) if len(content) <= most else 0
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _all_files(folder: BankFolder) -> Iterator[_File]:
    """Shards, and those with targets once more, for these."""
    for shard in folder.shards:
        yield shard, False
        if shard.name in folder.targets:
            yield shard, True


def _mark(file: ShardFile) -> List[object]:
    """What tells that a file is the one that was checked."""
    try:
        found = file.path.stat()
    except OSError:
        return [None]  # which none is
    # A copy is another file, and has another time of change of its own. The
    # device is left out: each mount of a network disk has another number.
    return [
        file.sha256,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_ino,
    ]


def _fault(folder: BankFolder, file: _File) -> str:
    """What is wrong with a file; empty if nothing is."""
    try:
        folder.check(*file)
    except BankError as error:
        return str(error)
    return ''

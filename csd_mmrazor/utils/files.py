# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import json
import os
import os.path as osp
import re
import socket
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Optional,
    Sequence,
    Tuple,
    Union,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_ATTEMPTS = 3
# How what a work dir's .lock says begins.
_LOCKED_BY = 'process '
# Brackets within each other in what commands write, as of arguments.
_DEEPEST = 100
# The writer's host and process, and what no two writers share. Earlier
# releases had the process alone.
_TEMPORARY = re.compile(r'\..+\.(?:([0-9a-f]{8})-(\d+)-[0-9a-f]{8}|\d+)\.tmp')


def temporary_name(name: str) -> str:
    """A name for what a file is called while it is written.

    Args:
        name (str): Of the file, without a folder.
    """
    return f'.{name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp'


def _host() -> str:
    """Stands for this machine in the names of files."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def is_leftover(name: str) -> bool:
    """Whether a file is what a writer left who is gone, as far as known.

    Of this machine's processes it is known which are gone. A writer on
    another one whose file is taken away writes it again.

    Args:
        name (str): Of the file, without a folder.
    """
    match = _TEMPORARY.fullmatch(name)
    if match is None:
        return False
    if (
        match[1] != _host()
        or int(match[2]) == os.getpid()  # which has not written anything yet
        or os.name == 'nt'  # where it cannot be asked
    ):
        return True
    try:
        os.kill(int(match[2]), 0)
    except PermissionError:
        return False  # somebody else's process
    except (OSError, OverflowError):
        return True
    return False


def write_file(
    path: Union[str, Path], content: Union[bytes, memoryview]
) -> None:
    """Write a file atomically.

    The content goes to a temporary name beside ``path``, reaches the disk and
    is renamed, so whoever is killed meanwhile leaves the old file as it was.
    No two writers share a temporary name, on whatever node they are.

    Args:
        path (str | Path): Where to.
        content (bytes | memoryview): What.

    Raises:
        OSError: If the disk is full or cannot be written to; names the file.
    """
    path = Path(path)
    temporary = path.with_name(temporary_name(path.name))
    try:
        for attempt in range(_ATTEMPTS):
            with open(temporary, 'wb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.replace(temporary, path)
                return
            except FileNotFoundError:
                # Another node took it for what a killed writer had left.
                if attempt == _ATTEMPTS - 1:
                    raise
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise OSError(
                error.errno, f'{error.strerror}; not written', str(path)
            ) from error
        raise


def write_files(files: Sequence[Tuple[Path, bytes]]) -> None:
    """Write several files, all or, where the disk is full, none.

    They are renamed in their order once all are on the disk. Whoever is
    killed meanwhile has changed the first ones alone.

    Args:
        files (sequence[tuple[Path, bytes]]): Where to, and what. A path may
            be there twice: its first content stands until the last ones.

    Raises:
        OSError: If the disk is full or cannot be written to; names the file.
    """
    staged: List[Tuple[Path, Path]] = []
    try:
        for path, content in files:
            new = path.with_name(temporary_name(path.name))
            staged.append((new, path))
            try:
                write_file(new, content)
            except OSError as error:
                raise OSError(
                    error.errno, error.strerror, str(path)
                ) from error
        for new, path in staged:
            os.replace(new, path)
    finally:
        for new, _ in staged:
            with suppress(OSError):
                new.unlink(missing_ok=True)


def digest_of_file(path: Union[str, Path]) -> str:
    """The SHA-256 of what is in a file, in 64 hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def parse_json(text: str, deepest: int = 9) -> Any:
    """Read a text that anybody may have written.

    Args:
        text (str): The text.
        deepest (int): How many brackets may be within each other. Defaults
            to 9.

    Raises:
        ValueError: If it is no JSON, has a name twice in one object, or is
            nested too deeply.
    """
    # The parser recurses without a limit of its own: it would crash.
    check_depth(text, deepest)
    return json.loads(text, object_pairs_hook=_each_once)


def check_depth(text: str, deepest: int) -> None:
    """Check how many brackets are within each other, but for strings.

    Args:
        text (str): Of JSON or the like.
        deepest (int): How many may be.

    Raises:
        ValueError: If there are more.
    """
    depth = 0
    bare = re.sub(r'"(?:[^"\\]|\\.)*"?', '', text, flags=re.DOTALL)
    for bracket in re.findall(r'[][{}]', bare):
        depth += 1 if bracket in '[{' else -1
        if depth > deepest:
            raise ValueError('nested too deeply')


def _each_once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    """An object, of whose names JSON would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'{twice!r:.100} is there twice')
    return found


def read_object(path: Union[str, Path]) -> Dict[str, Any]:
    """What a file of JSON says, if it is an object.

    Args:
        path (str | Path): The file.

    Returns:
        dict[str, Any]: Empty if there is none, or something else.
    """
    try:
        found = parse_json(Path(path).read_text(encoding='utf-8'), _DEEPEST)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def path_below(folder: Union[str, Path], name: str, argument: str) -> Path:
    """A path inside a folder, which others of its kind cannot share.

    Args:
        folder (str | Path): The work dir, which is locked against others.
        name (str): Relative to it.
        argument (str): Where ``name`` is set.

    Returns:
        Path: Of the two.

    Raises:
        ValueError: If it is not below the folder, links followed.
    """
    path = Path(folder, name)
    if Path(folder).resolve() not in path.resolve().parents:
        raise ValueError(
            f'{argument} should be a path below the work dir {folder}, which '
            f'one run has for itself, but got {name!r}, which is '
            f'{path.resolve()}. Move the work dir by --work-dir.'
        )
    return path


@contextmanager
def work_dir_lock(
    path: Union[str, Path], argument: str = '--work-dir'
) -> Iterator[None]:
    """Keep other runs out of a work dir while the context is open.

    The lock is the operating system's, and gone with the process that holds
    it, however that ends. Who gets it clears away what a killed writer left
    under a temporary name.

    Args:
        path (str | Path): The work dir; made if need be.
        argument (str): Where it is set. Defaults to '--work-dir'.

    Raises:
        RuntimeError: If another run is in it.
        FileExistsError: If its ``.lock`` is of another program.
        OSError: If it cannot be written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Not what a link in a work dir of others leads to.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, 'O_NOFOLLOW', 0)
        number = os.open(path / '.lock', flags, 0o666)
        file = open(number, 'r+', errors='replace')  # noqa: SIM115  held
    except OSError as error:
        why = 'It is a file' if path.is_file() else error.strerror
        raise OSError(
            error.errno,
            f'{why}. The work dir cannot be written to: choose '
            f'another {argument}',
            str(path),
        ) from error
    with file:
        try:
            # Of the process, so that its data workers do not keep it.
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            is_shared = os.fstat(number).st_nlink > 1
            raise RuntimeError(
                f'Another run is in the work dir {path}: '
                f'{file.read().strip() or "unknown"}. Wait for its end, end '
                f'it, or choose another {argument}.'
                + is_shared
                * (
                    ' Or it is in another folder, of which this one is a copy '
                    'by hard links: then delete the file .lock in this one.'
                )
            ) from None
        except OSError:
            pass  # a file system without locks
        start = file.read(len(_LOCKED_BY))
        # Where the power failed as it was written, it is of zeros.
        if start.strip('\0') and start != _LOCKED_BY:
            raise FileExistsError(
                f'{path / ".lock"} is of another program, and would be '
                f'overwritten: choose another {argument}, or delete it if '
                'nothing needs it.'
            )
        for pattern in ('.*.tmp', '*/.*.tmp'):
            for found in path.glob(pattern):
                if is_leftover(found.name):
                    found.unlink(missing_ok=True)
        with suppress(OSError):  # on a full disk, the process is not named
            file.seek(0)
            file.truncate(0)
            file.write(f'{_LOCKED_BY}{os.getpid()} on {socket.gethostname()}')
            file.flush()
        yield


def own_file(folder: Union[str, Path], pointer: object) -> Optional[Path]:
    """The file of a folder that a path in another file stands for.

    Such a path leads elsewhere once the folder was copied or moved, or
    somebody wrote it by hand. So only its last part counts.

    Args:
        folder (str | Path): The folder.
        pointer (object): The path, or whatever stands in its place.

    Returns:
        Path | None: None if it names no file of the folder, or a link that
        leads out of it.
    """
    if not isinstance(pointer, str):
        return None
    path = Path(folder, last_part(pointer))
    if not osp.isfile(path):  # also False for what can be no path
        return None
    return path if Path(folder).resolve() in path.resolve().parents else None


def last_part(path: str) -> str:
    """The name at the end of a path of any system; empty if it has none."""
    name = re.split(r'[/\\]', path)[-1].strip()
    return '' if name in ('.', '..') else name

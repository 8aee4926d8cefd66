# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import os.path as osp
import re
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator, Optional, Union

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def write_file(path: Union[str, Path], content: bytes) -> None:
    """Write a file atomically.

    The content goes to a temporary name beside ``path``, reaches the disk and
    is renamed, so whoever is killed meanwhile leaves the old file as it was.

    Args:
        path (str | Path): Where to.
        content (bytes): What.

    Raises:
        OSError: If the disk is full or cannot be written to; names the file.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise OSError(
                error.errno, f'{error.strerror}; not written', str(path)
            ) from error
        raise


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
def work_dir_lock(path: Union[str, Path]) -> Iterator[None]:
    """Keep other runs out of a work dir while the context is open.

    The lock is the operating system's, and gone with the process that holds
    it, however that ends. Who gets it clears away what a killed writer left
    under a temporary name.

    Args:
        path (str | Path): The work dir; made if need be.

    Raises:
        RuntimeError: If another run is in it.
        OSError: If it cannot be written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = open(path / '.lock', 'a+')  # noqa: SIM115  held open
    except OSError as error:
        raise OSError(
            error.errno,
            f'{error.strerror}. The work dir cannot be written to: choose '
            'another --work-dir',
            str(path),
        ) from error
    with file:
        try:
            # Of the process, so that its data workers do not keep it.
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise RuntimeError(
                f'Another run is in the work dir {path}: '
                f'{file.read().strip() or "unknown"}. Wait for its end, end '
                'it, or choose another --work-dir.'
            ) from None
        except OSError:
            pass  # a file system without locks
        for pattern in ('.*.[0-9]*.tmp', '*/.*.[0-9]*.tmp'):
            for leftover in path.glob(pattern):
                leftover.unlink(missing_ok=True)
        with suppress(OSError):  # on a full disk, the process is not named
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}')
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

# Copyright (c) csd_mmrazor developers. All rights reserved.
import errno
import io
import logging
import re
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import (
    Any,
    BinaryIO,
    Callable,
    Dict,
    Iterator,
    List,
    Optional,
    Union,
)

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log

from .error_text import named_error
from .files import last_part, own_file, write_file
from .plain_pickle import (
    NotPlainError,
    Storage,
    read_pickle,
    read_storage_alone,
)
from .safe_tensors import is_safetensors, read_safetensors

_ZIP = b'PK\x03\x04'
# How ``torch.save`` began files before torch 1.6; see torch.serialization.
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# What is said of MMEngine's last_checkpoint where a checkpoint is meant.
NAMES_ANOTHER = 'is a text that names a checkpoint'


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; says what to do."""


def load_file(
    file: Union[str, Path, BinaryIO],
    map_location: Union[str, torch.device, None] = None,
    **_,
) -> Any:
    """Load what ``torch.save`` wrote, if it is data, in place of torch.load.

    Nothing in it is run, whatever the release of torch; its sizes and
    checksums are looked at before any memory is taken. A file of safetensors
    is a state dict.

    Args:
        file (str | Path | BinaryIO): Where it is.
        map_location (str | torch.device, optional): Device of the tensors.
            Defaults to None, the CPU.

    Returns:
        What it holds: containers, numbers, texts, tensors, NumPy's arrays
        and MMEngine's log histories.

    Raises:
        CheckpointError: If it was cut short or altered, or holds more.
        OSError: If it cannot be read.
    """
    if not isinstance(map_location, (str, torch.device)):
        map_location = 'cpu'
    if isinstance(file, (str, Path)):
        with open(Path(file).expanduser(), 'rb') as opened:
            return _load(opened, str(file), torch.device(map_location))
    name = getattr(file, 'name', 'file')
    return _load(file, str(name), torch.device(map_location))


def load_pickle(
    file: BinaryIO, name: str, lists: Optional[Dict[str, type]] = None
) -> Any:
    """Load what ``pickle.dump`` wrote, if it is data, in place of pickle.load.

    Args:
        file (BinaryIO): Where it starts.
        name (str): What to call it in an error.
        lists (dict[str, type], optional): Kinds of ``UserList`` that may be
            in it, by ``module.name``.

    Returns:
        What it holds: as of :func:`load_file`, and such lists.

    Raises:
        CheckpointError: If it was cut short or altered, or holds more.
        OSError: If it cannot be read.
    """
    device = torch.device('cpu')

    def read_bytes(data: bytes) -> Storage:
        return _load_legacy(io.BytesIO(data), device, read_storage_alone)

    try:
        return read_pickle(file, None, read_bytes, lists)
    except (OSError, MemoryError):
        raise
    except NotPlainError as error:
        raise CheckpointError(
            f'{name} is not loaded, since it holds more than tensors, numbers '
            f'and texts: {error}. That could run any code. One that you trust '
            'you can read by pickle.load.'
        ) from error
    except Exception as error:
        raise CheckpointError(
            f'{name} is not a pickle, or was cut short '
            f'({type(error).__name__}).'
        ) from error


def _load(file: BinaryIO, name: str, device: torch.device) -> Any:
    start = file.read(9)
    file.seek(0)
    is_zip = start.startswith(_ZIP)
    if not is_zip and is_safetensors(start, name):
        try:
            return read_safetensors(file.read(), device)
        except ValueError as error:
            raise CheckpointError(
                f'{name} is not a file of safetensors, or was cut short or '
                f'altered: {error}.'
            ) from error
    if start and not is_zip and start[:1] != b'\x80':  # as pickles begin
        if Path(name).name == 'last_checkpoint':
            for path in list_checkpoints(Path(name).parent)[:1]:
                raise CheckpointError(f'{name} {NAMES_ANOTHER}: give {path}.')
        raise CheckpointError(
            f'{name} is not a checkpoint: no file of torch.save begins so.'
        )
    try:
        if not is_zip:
            return _load_legacy(file, device)
        with _opened_archive(file, name) as archive:
            return _load_archive(archive, device)
    except (OSError, MemoryError, CheckpointError):
        raise
    except NotPlainError as error:
        raise CheckpointError(
            f'The checkpoint {name} is not loaded, since it holds more than '
            f'tensors, numbers and texts: {error}. That could run any code.'
        ) from error
    except Exception as error:
        raise CheckpointError(
            f'{name} is not a checkpoint, or was cut short '
            f'({named_error(error)}).'
        ) from error


def _load_archive(archive: zipfile.ZipFile, device: torch.device) -> Any:
    found = [n for n in archive.namelist() if n.endswith('/data.pkl')]
    if len(found) != 1:
        raise zipfile.BadZipFile(f'{len(found)} files data.pkl')
    found = found[0]
    root = found[: -len('data.pkl')]
    order = f'{root}byteorder'
    if order in archive.namelist() and archive.read(order) != b'little':
        raise NotPlainError('numbers of a big-endian computer')
    storages: Dict[str, torch.Tensor] = {}

    def read_storage(key: str, size: int) -> torch.Tensor:
        member = archive.getinfo(f'{root}data/{key}')
        if member.file_size != size:
            raise NotPlainError(f'a storage of {size} bytes in {key}')
        if key not in storages:
            # Not the bytes themselves, whose memory is not aligned.
            data = np.frombuffer(archive.read(member), np.uint8)
            storages[key] = torch.tensor(data, device=device)
        return storages[key]

    return read_pickle(io.BytesIO(archive.read(found)), read_storage)


def _load_legacy(
    file: BinaryIO,
    device: torch.device,
    read: Callable[..., Any] = read_pickle,
) -> Any:
    """Of torch < 1.6: pickles, the last of which names storages to come."""
    room = file.seek(0, io.SEEK_END)
    file.seek(0)
    if (read_pickle(file), read_pickle(file)) != (_MAGIC, _PROTOCOL):
        raise ValueError('it was not written by torch.save')
    if read_pickle(file)['little_endian'] is not True:
        raise NotPlainError('numbers of a big-endian computer')
    start = file.tell()
    storages: Dict[str, torch.Tensor] = {}

    def announced(key: str, size: int) -> torch.Tensor:
        nonlocal room
        if key not in storages:
            if size > room:
                raise ValueError(f'it ends before a storage of {size} bytes')
            storages[key] = torch.empty(size, dtype=torch.uint8)
            room -= size
        if len(storages[key]) != size:
            raise NotPlainError(f'a storage of {size} bytes in {key}')
        return storages[key]

    read(file, announced)
    keys = read_pickle(file)
    if {*keys} != storages.keys():
        raise ValueError('it has other storages than its tensors')
    for key in keys:
        file.seek(8, io.SEEK_CUR)  # how many numbers it is
        size = len(storages[key])
        data = np.frombuffer(file.read(size), np.uint8)
        if len(data) < size:
            raise ValueError('it ends within a storage')
        storages[key] = torch.tensor(data, device=device)
    file.seek(start)
    return read(file, lambda key, size: storages[key])


def verify_archive(path: Union[str, Path]) -> None:
    """Check that a checkpoint is as it was written.

    It is an archive with a checksum of every tensor, which torch does not
    look at.

    Args:
        path (str | Path): A file that ``torch.save`` wrote.

    Raises:
        CheckpointError: If it was cut short or altered, or is an archive
            that torch does not write.
    """
    with open(path, 'rb') as file, _opened_archive(file, path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)


@contextmanager
def _opened_archive(
    file: BinaryIO, name: Union[str, Path]
) -> Iterator[zipfile.ZipFile]:
    """An archive of the kind that torch writes, not larger than its file."""
    try:
        with zipfile.ZipFile(file) as archive:
            _check_members(archive, name, file.seek(0, io.SEEK_END))
            yield archive
    except (NotPlainError, CheckpointError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        raise CheckpointError(
            f'The checkpoint {name} was cut short or altered ({error}).'
        ) from error


def _check_members(
    archive: zipfile.ZipFile, name: Union[str, Path], room: int
) -> None:
    """Check what an archive says of its files, before any is read."""
    names = archive.namelist()
    if any(n.rpartition('/')[2] == 'constants.pkl' for n in names):
        raise CheckpointError(
            f'{name} is a TorchScript archive, which holds code, and is not '
            'loaded.'
        )
    if not any(n.rpartition('/')[2] == 'data.pkl' for n in names):
        raise CheckpointError(
            f'{name} is an archive, but not one of torch.save: there is no '
            'data.pkl in it. A program of torch.export (.pt2) is none either.'
        )
    wrong = [
        member
        for member in archive.infolist()
        if member.compress_type != zipfile.ZIP_STORED
        or member.compress_size != member.file_size
        or member.flag_bits & 1
    ]
    declared = sum(member.file_size for member in archive.infolist())
    if wrong or declared > room or len(set(names)) < len(names):
        raise CheckpointError(
            f'{name} is not an archive of torch.save, which neither '
            'compresses nor repeats anything: its '
            f'{room} bytes stand for {declared}. Unpack it, load it where '
            'you trust it, and save it by torch.save(state_dict, FILE).'
        )


def keep_own_pointers(info: Dict, folder: Union[str, Path], step: int) -> None:
    """Make what a resumed checkpoint says of others say it of its own folder.

    MMEngine deletes what these name when a better or a newer one comes.

    Args:
        info (dict): ``runtime_info`` of MMEngine's message hub; changed. The
            best checkpoint is forgotten where the folder has none of that
            name.
        folder (str | Path): Where the run keeps its checkpoints.
        step (int): The epoch (or iteration) that is resumed.
    """
    for key in [key for key in info if str(key).startswith('best_ckpt')]:
        path = own_file(folder, info[key])
        if path is not None and path.name.startswith('best_'):
            info[key] = str(path)
        else:
            del info[key]
            # Or none would be saved that is not better.
            info.pop(key.replace('best_ckpt', 'best_score', 1), None)
    if 'keep_ckpt_ids' in info:
        ids = info['keep_ckpt_ids']
        ids = ids if isinstance(ids, (list, tuple)) else ()
        info['keep_ckpt_ids'] = sorted(
            {each for each in ids if type(each) is int and 0 <= each <= step}
        )


def set_apart_best(folder: Union[str, Path], step: int) -> None:
    """Rename best checkpoints of later steps than a run starts from.

    What comes now is another run from there on, which has a best one of its
    own.

    Args:
        folder (str | Path): Where the run keeps its checkpoints.
        step (int): The epoch (or iteration) that is resumed; 0 for none.
    """
    for path in Path(folder).glob('best_*.pth'):
        match = re.search(r'_(?:epoch|iter)_(\d+)\.pth$', path.name)
        is_chosen = path.name.startswith('best_agreement_')  # by its own hook
        if match and int(match[1]) > step and not is_chosen:
            set_apart(path)


def set_apart(path: Path) -> None:
    """Rename a checkpoint to ``replaced_*``, a name that no other has."""
    target, number = path.with_name(f'replaced_{path.name}'), 1
    while target.exists():
        number += 1
        target = path.with_name(f'replaced_{number}_{path.name}')
    path.rename(target)


def note_last(work_dir: Union[str, Path], name: str) -> None:
    """Let a run that is killed soon go on from what it resumes.

    Args:
        work_dir (str | Path): Of the run.
        name (str): Of the checkpoint; nothing is noted where it is elsewhere.
    """
    path = Path(work_dir, name)
    if path.is_file() and is_main_process():
        write_file(Path(work_dir, 'last_checkpoint'), str(path).encode())


def list_checkpoints(work_dir: Union[str, Path]) -> List[Path]:
    """The checkpoints of a run, the last one first.

    Those are the one that ``last_checkpoint`` names, whether it is there or
    not, and the ones before it; if it names none, all.

    Args:
        work_dir (str | Path): Folder of ``epoch_*.pth`` or ``iter_*.pth``.
    """
    steps = {}
    for path in Path(work_dir).glob('*.pth'):
        match = re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', path.name)
        if match:
            steps[path] = int(match[1])
    found = sorted(steps, key=steps.get, reverse=True)
    name = last_part(_last_checkpoint(work_dir))
    if not name:
        return found
    last = Path(work_dir, name)
    newest = steps.get(last, float('inf'))
    return [last] + [path for path in found if steps[path] < newest]


def latest_checkpoint(work_dir: Union[str, Path]) -> Optional[str]:
    """The last complete checkpoint of a run.

    That is the one that ``last_checkpoint`` names, or else the newest one
    before it; a warning names damaged ones. Nothing outside the
    work dir is taken.

    Args:
        work_dir (str | Path): Folder of ``epoch_*.pth`` or ``iter_*.pth``.

    Returns:
        str | None: Its path, or None if there are no checkpoints.

    Raises:
        CheckpointError: If there are some, but none is complete.
    """
    candidates = list_checkpoints(work_dir)
    for path in candidates:
        try:
            if own_file(work_dir, path.name) is None:
                raise CheckpointError(
                    f'The checkpoint {_short(path.name)} is not in {work_dir}.'
                )
            verify_archive(path)
            return str(path)
        except CheckpointError as error:
            print_log(
                f'{error} An earlier one is looked for.',
                logger='current',
                level=logging.WARNING,
            )
    if candidates:
        named = _last_checkpoint(work_dir)
        names = ', '.join(_short(path.name) for path in candidates)
        raise CheckpointError(
            f'None of the checkpoints in {work_dir} is complete ({names}'
            + (f'; last_checkpoint names {_short(named)}' if named else '')
            + '). Restore one from a copy; name one elsewhere with --resume '
            'FILE; or remove them and last_checkpoint, and --resume trains '
            'the student from scratch on the images of the initial bank.'
        )
    return None


def _last_checkpoint(work_dir: Union[str, Path]) -> str:
    """What ``last_checkpoint`` says; empty if it is not there."""
    path = Path(work_dir, 'last_checkpoint')
    if not path.is_file():
        return ''
    with open(path, 'rb') as file:  # in whatever encoding
        return file.read(100_000).decode(errors='replace').strip()


def _short(text: str, length: int = 200) -> str:
    return text if len(text) <= length else f'{text[:length]}...'

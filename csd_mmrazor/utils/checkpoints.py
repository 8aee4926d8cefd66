# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import re
import zipfile
from pathlib import Path
from typing import Dict, List, Optional, Union

from mmengine.logging import print_log

from .files import last_part, own_file


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; says what to do."""


def check_whole(path: Union[str, Path]) -> None:
    """Check that a checkpoint is as it was written.

    It is an archive with a checksum of every tensor, which torch does not
    look at.

    Args:
        path (str | Path): A file that ``torch.save`` wrote.

    Raises:
        CheckpointError: If it was cut short or altered.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        damaged = str(error)
    if damaged is not None:
        raise CheckpointError(
            f'The checkpoint {path} was cut short or altered ({damaged}).'
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
    if 'keep_ckpt_ids' in info:
        ids = info['keep_ckpt_ids']
        ids = ids if isinstance(ids, (list, tuple)) else ()
        info['keep_ckpt_ids'] = sorted(
            {each for each in ids if type(each) is int and 0 <= each <= step}
        )


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
    """The last checkpoint of a run that is whole.

    That is the one that ``last_checkpoint`` names, or else the newest one
    before it; a warning names those that are not whole. Nothing outside the
    work dir is taken.

    Args:
        work_dir (str | Path): Folder of ``epoch_*.pth`` or ``iter_*.pth``.

    Returns:
        str | None: Its path, or None if there are no checkpoints.

    Raises:
        CheckpointError: If there are some, but none is whole.
    """
    candidates = list_checkpoints(work_dir)
    for path in candidates:
        try:
            if own_file(work_dir, path.name) is None:
                raise CheckpointError(
                    f'The checkpoint {_short(path.name)} is not in {work_dir}.'
                )
            check_whole(path)
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
            f'None of the checkpoints in {work_dir} is whole ({names}'
            + (f'; last_checkpoint names {_short(named)}' if named else '')
            + '). Restore one from a copy; name one elsewhere with --resume '
            'FILE; or remove them and last_checkpoint, and --resume trains '
            'the student anew on the images of the initial bank.'
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

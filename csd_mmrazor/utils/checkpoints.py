# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import re
import zipfile
from pathlib import Path
from typing import Optional, Union

from mmengine.logging import print_log


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


def latest_checkpoint(work_dir: Union[str, Path]) -> Optional[str]:
    """The last checkpoint of a run that is whole.

    That is the one that ``last_checkpoint`` names, or else the newest one
    before it; a warning names those that are not whole.

    Args:
        work_dir (str | Path): Folder of ``epoch_*.pth`` or ``iter_*.pth``.

    Returns:
        str | None: Its path, or None if there are no checkpoints.

    Raises:
        CheckpointError: If there are some, but none is whole.
    """
    steps = {}
    for path in Path(work_dir).glob('*.pth'):
        match = re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', path.name)
        if match:
            steps[path] = int(match[1])
    candidates = sorted(steps, key=steps.get, reverse=True)
    pointer = Path(work_dir, 'last_checkpoint')
    named = pointer.read_text().strip() if pointer.is_file() else ''
    if named:
        # A work dir may have moved since.
        last = Path(work_dir, Path(named).name)
        if not last.is_file() and Path(named).is_file():
            last = Path(named)
        newest = steps.get(last, float('inf'))
        candidates = [last] + [p for p in candidates if steps[p] < newest]
    for path in candidates:
        try:
            if not path.is_file():
                raise CheckpointError(f'The checkpoint {path} is lost.')
            check_whole(path)
            return str(path)
        except CheckpointError as error:
            print_log(
                f'{error} An earlier one is looked for.',
                logger='current',
                level=logging.WARNING,
            )
    if candidates:
        raise CheckpointError(
            f'None of the checkpoints in {work_dir} is whole '
            f'({", ".join(path.name for path in candidates)}). Restore one '
            'from a copy; or remove them and last_checkpoint, and --resume '
            'trains the student anew on the images of the initial bank.'
        )
    return None

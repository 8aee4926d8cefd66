# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Names that an export may write to."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Union

from ..utils import digest_of_file, read_object
from .source import is_export

PathLike = Union[str, Path]


def check_free(out: PathLike, *others: Optional[PathLike]) -> None:
    """Check that an export would overwrite at most an earlier one.

    Args:
        out (str | Path): OUT.pth, where it would be.
        *others (str | Path, optional): Files that would be written with it.

    Raises:
        ValueError: If there is another file, or one beside it where what
            describes it would be.
    """
    path = Path(out)
    if not path.name:
        raise ValueError(f'OUT.pth should be the name of a file: {out!r}.')
    wanted = [Path(other) for other in others if other]
    if is_export(path):
        parts = noted_files(path)
        wanted = [
            each
            for each in wanted
            if not any(_is_noted(each, part, path.parent) for part in parts)
        ]
    else:
        wanted += [
            path,
            path.with_suffix('.json'),
            path.with_suffix('.py'),
            path.with_suffix('.safetensors'),
            path.with_name(f'{path.stem}_mmpretrain.pth'),
        ]
    for each in wanted:
        if each.exists():
            raise ValueError(
                f'{each} is there, and is no exported student: it would be '
                'overwritten. Choose another name.'
            )


def noted_files(out: PathLike) -> List[Dict[str, Any]]:
    """What an export noted of further files of its own.

    Args:
        out (str | Path): OUT.pth.

    Returns:
        list[dict]: With ``file``, a name, and ``sha256``, if it was known;
        empty if ``OUT.json`` is of others.
    """
    if not is_export(out):
        return []
    told = read_object(Path(out).with_suffix('.json'))
    earlier = told.get('earlier')
    parts = [told.get('onnx'), told.get('program')]
    parts += earlier if isinstance(earlier, list) else []
    found = [
        {key: part[key] for key in ('file', 'sha256') if key in part}
        for part in parts
        if isinstance(part, dict)
    ]
    return [part for n, part in enumerate(found) if part not in found[:n]]


def _is_noted(path: Path, part: Any, folder: Path) -> bool:
    """Whether a file is one that an export into a folder has noted.

    Notes have no folders: one of that name elsewhere may be of others.
    """
    if not isinstance(part, dict) or part.get('file') != path.name:
        return False
    return path.parent.resolve() == folder.resolve() or (
        path.is_file() and digest_of_file(path) == part.get('sha256')
    )

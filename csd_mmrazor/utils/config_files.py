# Copyright (c) csd_mmrazor developers. All rights reserved.
import ast
import difflib
import re
from pathlib import Path
from typing import Union

from mmengine.config import Config


def read_config(path: Union[str, Path]) -> Config:
    """Read a config, and say what is wrong where it cannot be read.

    Args:
        path (str | Path): The config file.

    Returns:
        Config: With its bases.

    Raises:
        FileNotFoundError: If it or one of its bases does not exist; names
            those that do.
        ValueError: If it is not Python, or has a name twice in one dict, the
            first of which would be lost.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(_missing(Path(path), 'The config'))
    try:
        _check_names(Path(path))
        return Config.fromfile(str(path))
    except SyntaxError as error:
        raise ValueError(f'{path} is not Python: {error}.') from error
    except FileNotFoundError as error:
        # Of a package's config MMEngine says: file "..." does not exist
        base = error.filename or re.findall('"(.+)"', str(error))[0]
        raise FileNotFoundError(
            _missing(Path(base), f'{path} inherits a config, but')
        ) from error


def _missing(path: Path, what: str) -> str:
    there = sorted(p.name for p in path.parent.glob('*.py'))
    close = difflib.get_close_matches(path.name, there, 3, 0.5)
    if not path.parent.is_dir():
        hint = f'There is no folder {path.parent}.'
    elif not there:
        hint = f'There are no configs in {path.parent}.'
    else:
        # The likeliest first.
        names = [*close, *(name for name in there if name not in close)]
        more = f' and {len(names) - 20} more' if len(names) > 20 else ''
        hint = f'In {path.parent} there are {", ".join(names[:20])}{more}.'
    if close:
        hint = f'Did you mean {close[0]}? {hint}'
    return f'{what} {path} does not exist. {hint}'


def _check_names(path: Path) -> None:
    """Refuse ``{'align': ..., 'align': ...}``, which Python takes.

    Of ``dict(align=..., align=...)`` Python itself says so.
    """
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if not isinstance(node, ast.Dict):
            continue
        names = [k.value for k in node.keys if isinstance(k, ast.Constant)]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(
                f'{path}, line {node.lineno}: a dict has '
                f'{", ".join(map(repr, sorted(twice, key=str)))} twice, and '
                'only the last would count. Give each a name of its own.'
            )

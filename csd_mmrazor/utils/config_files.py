# Copyright (c) csd_mmrazor developers. All rights reserved.
import ast
import difflib
import re
import traceback
from contextlib import suppress
from copy import deepcopy
from importlib.metadata import PackageNotFoundError
from keyword import iskeyword
from pathlib import Path
from typing import (
    Any,
    Collection,
    Iterable,
    Iterator,
    Optional,
    Set,
    Tuple,
    Union,
)

import mmengine
from mmengine.config import Config
from mmengine.fileio import load

from .config_chain import reading
from .error_text import named_error
from .files import parse_json
from .plain_yaml import parse_yaml
from .sections import SECTIONS, check_names

# Sections of tests, test_*, that have a counterpart of validation, val_*.
TESTED = ('dataloader', 'evaluator', 'cfg')
# What a text as it is cannot have within '...'.
_NO_TEXT = {*"'\\\n\r\0"}
_MMENGINE = str(Path(mmengine.__file__).parent)


def read_config(
    path: Union[str, Path], wanted: Collection[str] = SECTIONS
) -> Config:
    """Read a config, and say what is wrong where it cannot be read.

    Args:
        path (str | Path): The config file, or ``package::path`` of one that
            an installed package brings along, as in ``_base_``.
        wanted (collection[str]): Sections that are read, among which
            misspelt ones are looked for. Defaults to all.

    Returns:
        Config: With its bases. What it tests on is what it validates on,
        where its files do not say otherwise.

    Raises:
        FileNotFoundError: If it or one of its bases does not exist; names
            those that do.
        ValueError: If it is no Python, JSON or YAML in UTF-8, raises an error
            itself, has a name twice in one dict, the first of which would be
            lost, or a misspelt section.
    """
    if '::' in str(path) and not Path(path).is_file():
        path = _installed(str(path))
    if not Path(path).is_file():
        raise FileNotFoundError(_missing(Path(path), 'The config'))
    if Path(path).suffix not in ('.py', '.json', '.yaml', '.yml'):
        raise ValueError(
            f'{path} is no config, which is a file .py, .json, .yaml or .yml.'
        )
    try:
        files = dict(_files(str(path)))
        for each, text in files.items():
            _check_twice(each, text)
        cfg = Config.fromfile(str(path))
    except SyntaxError as error:
        raise ValueError(
            f'{error.filename or path} is not Python: {error}.'
        ) from error
    except FileNotFoundError as error:
        raise FileNotFoundError(
            _missing(_named_by(error), f'{path} inherits a config, but')
        ) from error
    except (OSError, ImportError, ValueError, KeyError):
        raise  # which say what is wrong
    except Exception as error:  # whatever its statements do
        raise ValueError(f'{_place(error, path)}: {named_error(error)}') from (
            error
        )
    used = {name for item in files.items() for name in _used(*item)}
    check_names(cfg, used, wanted)
    apart = _tested_apart(str(path), cfg)
    follow_validation(cfg, [each for each in TESTED if each not in apart])
    return cfg


def follow_validation(cfg: Config, parts: Collection[str]) -> None:
    """Let a config test on what it validates on.

    Args:
        cfg (Config): Is changed.
        parts (collection[str]): Of :data:`TESTED`, what is to follow.
    """
    for part in parts:
        value = cfg.get(f'val_{part}')
        is_loop = part == 'cfg' and 'type' in (value or {})
        if value is not None and not is_loop:
            cfg[f'test_{part}'] = deepcopy(value)


def check_keys(node: Any, path: str = '') -> None:
    """Refuse keys that MMEngine cannot write down.

    It writes a text between quotation marks as it is, so the rest of one that
    has such a mark itself would be code in the file.

    Args:
        node (object): A config or a part of it.
        path (str): Where it is, ending with a dot.

    Raises:
        ValueError: If a key is a Python keyword, or a text with what ends or
            alters a Python string; says where.
    """
    pairs: Iterable[Tuple[Any, Any]] = ()
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, (list, tuple)):
        pairs = enumerate(node)
    for key, value in pairs:
        if isinstance(key, str) and iskeyword(key):
            raise ValueError(
                f'{path}{key}: "{key}" is a Python keyword, which no key of a '
                'config can be. Give it another name.'
            )
        if isinstance(key, str) and not _NO_TEXT.isdisjoint(key):
            raise ValueError(
                f'{path}{key!r}: no key of a config can have a quotation mark '
                "('), backslash or line break. Give it another name."
            )
        check_keys(value, f'{path}{key}.')


def _tested_apart(path: str, cfg: Optional[Config] = None) -> Set[str]:
    """What a config says of tests that it does not say of validation.

    The last of its files that names ``test_*`` decides: if it is what is
    validated on there, it is meant to be that.

    Args:
        path (str): The config.
        cfg (Config, optional): What is in it, which is not run again then.
            Defaults to None.

    Returns:
        set[str]: Of :data:`TESTED`.
    """
    named = _assigned(path, Path(path).read_text(encoding='utf-8'))
    apart: Set[str] = set()
    inherited: Set[str] = set()
    for base in Config._get_base_files(path):
        inherited |= _tested_apart(Config._get_cfg_path(base, path)[0])
    for part in TESTED:
        if f'test_{part}' not in named:
            is_apart = part in inherited
        else:
            if cfg is None:
                cfg = Config.fromfile(path)
            is_apart = cfg.get(f'test_{part}') != cfg.get(f'val_{part}')
        if is_apart:
            apart.add(part)
    return apart


def _assigned(path: str, text: str) -> Set[str]:
    """Names that a config file itself gives a value."""
    if not path.endswith('.py'):
        return {*load(path)}
    return {
        node.id
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _named_by(error: FileNotFoundError) -> Path:
    # Of a package's config MMEngine says: file "..." does not exist
    return Path(error.filename or re.findall('"(.+)"', str(error))[0])


def _installed(name: str) -> str:
    """The file of ``package::path``."""
    package = name.partition('::')[0]
    try:
        return Config._get_cfg_path(name, '')[0]
    except FileNotFoundError as error:
        missing = _missing(_named_by(error), f'The config {name}:')
        raise FileNotFoundError(missing) from error
    except (ModuleNotFoundError, PackageNotFoundError) as error:
        raise ModuleNotFoundError(
            f'The config {name} is one of the package "{package}", which is '
            f'not installed: run "pip install {package}", or give the path '
            'of a file.'
        ) from error
    except (ValueError, AssertionError) as error:
        raise FileNotFoundError(
            f'The config {name} does not exist, and is no package::path of '
            'one of the packages of OpenMMLab, such as "mmrazor::'
            'distill/mmcls/kd/kd_logits_resnet34_resnet18_8xb32_in1k.py".'
        ) from error


def _files(path: str) -> Iterator[Tuple[str, str]]:
    """The text of a config and of its bases, those of bases too, by path."""
    try:
        text = Path(path).read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b'\n') + 1
        raise ValueError(
            f'The config {path} is not in UTF-8, from line {line} on: save it '
            'with that encoding.'
        ) from error
    if not path.endswith('.py'):
        _check_data(path, text)
    yield path, text
    with reading(path):
        for base in Config._get_base_files(path):
            yield from _files(Config._get_cfg_path(base, path)[0])


def _check_data(path: str, text: str) -> None:
    """Check a config that is no Python, before MMEngine reads it."""
    is_json = path.endswith('.json')
    try:
        found = parse_json(text, 100) if is_json else parse_yaml(text)
    except ValueError as error:
        raise ValueError(
            f'The config {path} is no {"JSON" if is_json else "YAML"}, or not '
            f'of a kind that can be read: {error}.'
        ) from error
    if not isinstance(found, dict):
        raise ValueError(
            f'The config {path} should have sections by their names, but has '
            f'{found!r:.100}.'
        )


def _used(path: str, text: str) -> Iterator[str]:
    """Names that a config file reads, as variables are read.

    Of a library's own configs all names: they are as they are.
    """
    yield from re.findall(r'_base_\.(\w+)', text)
    with suppress(SyntaxError):  # JSON or YAML
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Name) and (
                isinstance(node.ctx, ast.Load) or '.mim' in Path(path).parts
            ):
                yield node.id


def _place(error: Exception, path: str) -> str:
    """The line of a config, or of one of its bases, that raised an error."""
    lines = [
        f'{frame.filename}, line {frame.lineno}'
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.name == '<module>'
        and not frame.filename.startswith(_MMENGINE)
    ]
    return lines[-1] if lines else f'{path} cannot be read as a config'


def _missing(path: Path, what: str) -> str:
    there = sorted(p.name for p in path.parent.glob('*.py'))
    close = difflib.get_close_matches(path.name, there, 3, 0.5)
    if path.is_dir():
        inside = sorted(each.name for each in path.glob('*.py'))
        listed = ', '.join(inside[:20]) or 'no config'
        return f'{what} {path} is a folder, not a file: in it is {listed}.'
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


def _check_twice(path: str, text: str) -> None:
    """Refuse ``{'align': ..., 'align': ...}``, which Python takes.

    Of ``dict(align=..., align=...)`` Python itself says so.
    """
    if not path.endswith('.py'):
        return
    for node in ast.walk(ast.parse(text, path)):
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

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Functions and classes by name, out of packages, files and programs."""

import ast
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union

from .error_text import named_error

# What begins the name of something that only a running program has.
LENT = 'lent:'
_LENT: Dict[str, Any] = {}
# Where packages are installed, whose modules any program can import.
_INSTALLED = ('site-packages', 'dist-packages')


def class_of_lent(name: str) -> str:
    """The class of something lent, or the name itself if that is unknown."""
    found = _LENT.get(name[len(LENT) :]) if name.startswith(LENT) else None
    return name if found is None else type(found).__name__


def import_object(name: str) -> Any:
    """A function or class by its name.

    Args:
        name (str): ``package.module.Name``, ``folder/file.py:Name``, or
            ``lent:name`` of what :func:`lend` has.

    Returns:
        object: What is called so; of a lent object, a function that returns
        a copy.

    Raises:
        ImportError: If there is none; says which part of the name is wrong.
    """
    if name.startswith(LENT):
        key = name[len(LENT) :]
        if key not in _LENT:
            raise ImportError(
                f'it is the {key} that a program gave to distill(), which no '
                'config can make again; the first lines of that config.py '
                'say why. Replace this by "FILE.py:function" of a function '
                'that makes it, in a copy of that config (--config COPY.py of '
                'estimate, export and quantize) or by --cfg-options (of train '
                'and test)'
            )
        return lambda: deepcopy(_LENT[key])
    path, colon, attribute = name.rpartition(':')
    if colon and path.endswith('.py'):
        module = import_file(path)
    else:
        path, _, attribute = name.rpartition('.')
        if not path:
            raise ImportError('it has no module')
        try:
            module = importlib.import_module(path)
        except ImportError:
            raise
        except (Exception, SystemExit) as error:  # whatever running it does
            raise ImportError(named_error(error)) from error
    if not hasattr(module, attribute):
        raise ImportError(f'{path} has no {attribute!r}')
    return getattr(module, attribute)


def import_file(path: str) -> ModuleType:
    """The module in a file, which may import its neighbours.

    A file within a package becomes a module of that package. One that was
    imported before is not run again.

    Args:
        path (str): Of the file.

    Raises:
        ImportError: If there is no such file, or running it fails.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ImportError(f'there is no file {path}')
    known = imported_file(path)
    if known is not None:
        return known
    root, name, other_name = _names_of(file)
    before = list(sys.path)
    sys.path.insert(0, str(root))
    try:
        _check_namesakes(file, root, name)
        if name not in sys.modules and '.' not in file.stem:
            importlib.invalidate_caches()
            known = importlib.import_module(name)
            if _is_of(known, file):
                return known
        # Another file has that name, such as a module of Python's.
        spec = importlib.util.spec_from_file_location(other_name, file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[other_name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[other_name]
            raise
        return module
    except (Exception, SystemExit) as error:
        raise ImportError(
            f'{path} cannot be imported ({named_error(error)})'
        ) from error
    finally:
        sys.path[:] = before


def _check_namesakes(file: Path, root: Path, name: str) -> None:
    """Refuse a file that would get modules of another folder for its own."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return  # running it says so
    package, *parts = name.split('.')
    wanted = {package} if parts else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted |= {each.name.partition('.')[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            wanted.add(f'{node.module}'.partition('.')[0])
    for each in sorted(wanted):
        other = getattr(sys.modules.get(each), '__file__', None)
        places = (root / each / '__init__.py', root / f'{each}.py')
        own = next((place for place in places if place.is_file()), file)
        if other is None or own.samefile(file) or own.samefile(other):
            continue
        within = own.parent / each / '__init__.py'
        if within.is_file() and within.samefile(other):
            continue  # a clone, with its package in it
        raise ImportError(
            f'it needs {own}, but {other} was imported as {each!r} before, '
            'and there can be one module of a name: rename one of them, or '
            'their folders'
        )


@contextmanager
def importing_beside(name: str) -> Iterator[None]:
    """Find the neighbours of ``FILE.py:Name``, which it may import later."""
    path, _, _ = name.rpartition(':')
    if not path.endswith('.py'):
        yield
        return
    with importing_from(_names_of(Path(path).expanduser().resolve())[0]):
        yield


@contextmanager
def importing_from(folder: Union[str, Path]) -> Iterator[None]:
    """Find modules in a folder, too, if they are nowhere else."""
    before = list(sys.path)
    sys.path.append(str(Path(folder).resolve()))
    try:
        yield
    finally:
        sys.path[:] = before


def custom_imports(cfg: Any) -> List[str]:
    """Names of the modules of a config's ``custom_imports``, one or many."""
    named = (cfg.get('custom_imports') or {}).get('imports') or []
    return [named] if isinstance(named, str) else list(named)


def imported_file(path: str) -> Optional[ModuleType]:
    """What :func:`import_file` returns, if it needs to run nothing."""
    file = Path(path).expanduser().resolve()
    for name in _names_of(file)[1:]:
        if name in sys.modules and _is_of(sys.modules[name], file):
            return sys.modules[name]
    return None


def is_installed(file: str) -> bool:
    """Whether any program can import the module in a file."""
    places = (sysconfig.get_path('stdlib'), sysconfig.get_path('purelib'))
    return any(part in Path(file).parts for part in _INSTALLED) or any(
        Path(place) in Path(file).resolve().parents for place in places
    )


def file_in_package(path: str) -> str:
    """The name of a file, after those of the packages that it is in.

    Args:
        path (str): Of the file.

    Returns:
        str: Such as ``package/nets.py``; no other folder is named.
    """
    file = Path(path).expanduser().resolve()
    return file.relative_to(_names_of(file)[0]).as_posix()


def _names_of(file: Path) -> Tuple[Path, str, str]:
    """Where a module is imported from, its name, and one if that is taken."""
    root, parts = file.parent, [file.stem.replace('.', '_')]
    while (
        (root / '__init__.py').is_file()
        and '.' not in root.name
        # A clone, with its package in it.
        and not (root / root.name / '__init__.py').is_file()
    ):
        parts.insert(0, root.name)
        root = root.parent
    name = '.'.join(parts)
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    return root, name, f'{name}_{digest}'


def _is_of(module: ModuleType, file: Path) -> bool:
    path = getattr(module, '__file__', None)
    return bool(path) and Path(path).resolve() == file


@contextmanager
def lend(**objects: Any) -> Iterator[None]:
    """Let configs name objects of this program as ``lent:NAME``.

    They get copies, so the objects stay as they are.
    """
    before = dict(_LENT)
    _LENT.update(objects)
    try:
        yield
    finally:
        _LENT.clear()
        _LENT.update(before)


def lent(name: str) -> Any:
    """The object itself that was lent under a name.

    Raises:
        ImportError: If there is none.
    """
    import_object(LENT + name)
    return _LENT[name]

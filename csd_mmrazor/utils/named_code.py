# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a config that is read as data may let others call."""

import os.path as osp
import re
import sys
from functools import reduce
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any, Iterator, Optional, Sequence, Tuple, Union

import torch.nn as nn
from mmengine import registry
from mmengine.config import Config
from mmengine.utils import get_object_from_string
from torch.optim import Optimizer

from .imports import LENT, custom_imports, import_object, is_installed

# Which may be imported from where they were cloned.
_LIBRARIES = (
    *('csd_mmrazor', 'mmcls', 'mmcv', 'mmengine', 'mmpretrain', 'mmrazor'),
    *('timm', 'torch', 'torchvision'),
)
# Names of code in a config, and those that are only imported.
_IMPORTED = ('_scope_', 'default_scope', 'custom_imports')
_KEYS = ('type', 'constructor', 'factory', 'cfg_path', *_IMPORTED)
# By which MMRazor's recorders, deliveries, tracers and quantizers import what
# they look at, of the user's code or any library.
_LOOKED_AT = (
    *('source', 'method_path', 'func_path', 'skipped_methods'),
    *('no_observer_modules', 'object_type'),
)
_LAYERS = re.compile(r'(Module\w+|Parameter)(Recorder)?$')
# By which MMEngine's backend for memcached changes where modules are found.
_IMPORT_PATH = 'sys_path'
# With which transformers runs the code of a model.
_REMOTE = 'trust_remote_code'
_IN_RUN = 'is a file that came with the run'
_NO_PART = 'is neither a network nor a registered part'


def check_names(
    cfg: Config, path: Union[str, Path], folders: Sequence[Union[str, Path]]
) -> None:
    """Check that parts of a config can be built without running its files.

    Registries and ``TorchClassifier`` call what a config names, whatever it
    is, and a work dir may come from anywhere. Networks, what is registered
    and the user's own code may be named.

    Args:
        cfg (Config): Of a run.
        path (str | Path): Where it is, for messages.
        folders (sequence[str | Path]): Whose files may come from anywhere.

    Raises:
        ValueError: If it names anything else; says what.
    """
    roots = [Path(folder).resolve() for folder in folders]
    imported = (('custom_imports', name) for name in custom_imports(cfg))
    for key, name in (*imported, *_names(cfg._cfg_dict)):
        why = _refusal(key, name, roots)
        if why:
            raise ValueError(
                f'{path} has {key}={name!r}, which {why}: nothing else that '
                'the config of a run names is called, since it may come from '
                f'anywhere. If you trust it, name it: --config {path} (test: '
                f'{path} CHECKPOINT)'
            )


def _names(part: Any) -> Iterator[Tuple[str, Any]]:
    """What names code in a config, and the key of that."""
    if isinstance(part, dict):
        for key, value in part.items():
            is_name = key in _KEYS or f'{key}'.endswith('_type')
            is_setting = key in (_REMOTE, _IMPORT_PATH) and value
            if isinstance(value, str) if is_name else is_setting:
                yield key, value
            # Where a recorder's source is a layer, nothing is imported.
            if key in _LOOKED_AT and not (
                key == 'source' and _LAYERS.search(f'{part.get("type")}')
            ):
                yield from ((key, name) for name in _texts(value))
            yield from _names(value)
    elif isinstance(part, (list, tuple)):
        for each in part:
            yield from _names(each)


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, (list, tuple)):
        for each in part:
            yield from _texts(each)


def _refusal(key: str, name: Any, roots: Sequence[Path]) -> str:
    """Why nothing of such a name is called; '' if it may be."""
    if key == _REMOTE:
        return 'runs code of another'
    if key == _IMPORT_PATH:
        return 'lets any file in there be imported'
    if key == 'cfg_path':
        package, _, inner = name.rpartition('::')
        if not package:
            return _IN_RUN if _is_in(name, roots) else ''
        if _is_module_in(package, roots):
            return _IN_RUN
        is_within = '..' not in PurePath(inner).parts and not osp.isabs(inner)
        return '' if is_within else f'is not in the package {package}'
    file, colon, _ = name.rpartition(':')
    if colon and file.endswith('.py'):
        if _is_in(file, roots):
            return _IN_RUN
        return _NO_PART if _is_library(file) else ''
    if name.startswith(LENT):
        return ''
    if _is_module_in(name, roots):
        return _IN_RUN
    first = name.partition('.')[0]
    if key in (*_IMPORTED, *_LOOKED_AT) or first == name:
        return ''
    if first in getattr(sys, 'stdlib_module_names', ()):
        return _NO_PART
    found = _found(key, name)
    return '' if found is None or _may_be_called(found, roots) else _NO_PART


def _found(key: str, name: str) -> Any:
    """What would be called; None if that is registered, or nothing."""
    try:
        if key == 'factory':
            return import_object(name)
        return get_object_from_string(name)
    except Exception:  # whatever importing it raises is told by who needs it
        return None


def _may_be_called(found: Any, roots: Sequence[Path]) -> bool:
    if isinstance(found, type) and issubclass(found, (nn.Module, Optimizer)):
        return True
    code = sys.modules.get(str(getattr(found, '__module__', None)))
    file = getattr(code, '__file__', None)
    if file and not _is_library(file) and not _is_in(file, roots):
        return True
    return _says_network(found, code) or any(
        found is part for part in _registered()
    )


def _says_network(function: Any, code: Any) -> bool:
    """Whether a function says by its annotations that it returns a network."""
    said = getattr(function, '__annotations__', {}).get('return')
    if isinstance(said, str):
        said = reduce(
            lambda part, name: getattr(part, name, None),
            said.strip('\'"').split('.'),
            code,
        )
    return isinstance(said, type) and issubclass(said, nn.Module)


def _registered() -> Iterator[Any]:
    """What is in any registry."""
    left = [
        each
        for each in vars(registry).values()
        if isinstance(each, registry.Registry)
    ]
    while left:
        each = left.pop()
        left += each.children.values()
        yield from each.module_dict.values()


def _is_library(file: str) -> bool:
    """Whether a file is not the user's own."""
    path = Path(file).expanduser().resolve()
    places = [
        Path(place).resolve()
        for name in _LIBRARIES
        for place in _places(name)[1:]
    ]
    return is_installed(str(path)) or not {*places}.isdisjoint(path.parents)


def _is_module_in(name: str, roots: Sequence[Path]) -> bool:
    """Whether importing a module runs a file that is in a folder.

    Any folder above it is a package without a file, which Python calls a
    namespace.
    """
    first, *parts = name.split('.')
    places = [*_places(first)]
    for folder in places[1:]:
        for part in parts:
            folder = osp.join(folder, part)
            places += [folder, f'{folder}.py']
    return any(_is_in(place, roots) for place in places)


def _places(name: str) -> Sequence[str]:
    """The file of a module, and its folder if it is a package."""
    try:
        spec: Optional[Any] = find_spec(name)
    except (ImportError, ValueError):  # it was made by a program
        spec = None
    if spec is None:
        return ['']
    own = spec.origin if spec.has_location else None
    return [own or '', *(spec.submodule_search_locations or ())]


def _is_in(file: str, roots: Sequence[Path]) -> bool:
    path = Path(file or osp.sep).expanduser()
    both = path.resolve(), path.parent.resolve() / path.name
    return any(
        root in (each, *each.parents) for root in roots for each in both
    )

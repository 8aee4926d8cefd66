# Copyright (c) csd_mmrazor developers. All rights reserved.
"""mmcls, which is mmpretrain today."""

import ast
import functools
import re
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional

from .rebind import rebind

# What mmpretrain 1.2 has under another name than mmcls 1.0.0rc6.
_RENAMED = dict(
    ClsDataSample='DataSample',
    ClsVisualizer='UniversalVisualizer',
    PackClsInputs='PackInputs',
    ToNumpy='PILToNumpy',
    ToPIL='NumpyToPIL',
    cls_data_sample='data_sample',
    cls_visualizer='visualizer',
)
# The same of its configs: of DeiT and ViT, of a Swin, and of three that came
# to stand beside those of their pretraining.
_RENAMED_CONFIGS = (
    (r'_[pf]t-', '_'),
    (r'_in1k-384\.', '_in1k-384px.'),
    (r'_in1k-224\.', '_in1k.'),
    ('_cub_', '_cub-'),
    (r'^(beit|beitv2|mixmim)/(\w+?)(v2)?-', r'\1/benchmarks/\2-'),
)


def _translate(name: Any) -> Any:
    """``mmcls``, ``mmcls.some.Name`` and ``mmcls::config`` in mmpretrain."""
    found = isinstance(name, str) and re.fullmatch(
        r'mmcls(?:(\.|::)(.*))?', name, re.DOTALL
    )
    if not found:
        return name
    if found[1] == '::':
        return f'mmpretrain::{_config(found[2])}'
    parts = (found[2] or '').split('.')
    return '.'.join(['mmpretrain', *map(_renamed, filter(None, parts))])


def _renamed(name: str) -> str:
    return _RENAMED.get(name, name)


def _config(path: str) -> str:
    configs = Path(find_spec('mmpretrain').origin).parent / '.mim/configs'
    if (configs / path).exists():
        return path
    for old, new in _RENAMED_CONFIGS:
        path = re.sub(old, new, path)
    return path


def _is_installed() -> bool:
    spec = find_spec('mmcls')
    return spec is not None and spec.origin is not None  # no mere folder


def read_mmcls_as_mmpretrain() -> Optional[bool]:
    """MMRazor's configs name ``mmcls``, which has become ``mmpretrain``.

    MMEngine answers ``mmcls::some/config.py`` by installing mmcls 0.25.0, an
    incompatible release. Where mmcls is not installed, ``mmcls::`` in paths
    and ``mmcls.`` or ``_scope_='mmcls'`` in registries mean mmpretrain, with
    what has been renamed since.
    """
    if _is_installed():
        return False
    import mmengine.hub.hub as hub
    from mmengine.config import Config
    from mmengine.registry import DefaultScope, Registry

    Config._get_cfg_path = staticmethod(_translated(Config._get_cfg_path))
    for function in (hub.get_config, hub.get_model):
        rebind(function, _translated(function))

    get, switch = Registry.get, Registry.switch_scope_and_registry

    @functools.wraps(get)
    def translated_get(self, key):
        name = _translate(key)
        found = get(self, name)
        if found is None and name != key:
            # In the scope of mmpretrain: ``mmcls.SGD`` is MMEngine's.
            found = get(self, name[len('mmpretrain.') :])
        if found is None and key in _RENAMED:
            found = get(self, _RENAMED[key])
        return found

    @functools.wraps(switch)
    def translated_switch(self, scope):
        if scope is None:
            default = DefaultScope.get_current_instance()
            if default is not None and default.scope_name == 'mmcls':
                scope = 'mmcls'
        return switch(self, _translate(scope))

    Registry.get = translated_get
    Registry.switch_scope_and_registry = translated_switch


def _translated(function):
    """Translate the first argument of a function."""

    @functools.wraps(function)
    def wrapper(name, *args, **kwargs):
        return function(_translate(name), *args, **kwargs)

    return wrapper


def import_mmcls_from_mmpretrain() -> Optional[bool]:
    """MMRazor imports ``mmcls``, and makes do with placeholders without it.

    Searchable classifiers, their backbones and heads, ``KDSoftCELoss`` and
    CRD's packing cannot be used then. Where mmcls is not installed, imports
    of it mean mmpretrain: in MMRazor's own modules alone, and where a config
    names what to import (``custom_imports``, methods that recorders and
    deliveries replace). To anybody else mmcls stays unknown.
    """
    if _is_installed():
        return False
    import mmengine.utils

    importing = mmengine.utils.import_modules_from_strings

    @functools.wraps(importing)
    def import_modules(imports, allow_failed_imports=False):
        names = [imports] if isinstance(imports, str) else imports
        if isinstance(names, (list, tuple)):
            names = [_translate(name) for name in names]
        names = names[0] if isinstance(imports, str) else names
        return importing(names, allow_failed_imports)

    rebind(importing, import_modules)
    if not any(isinstance(each, _MMRazorFinder) for each in sys.meta_path):
        sys.meta_path.insert(0, _MMRazorFinder())


class _MMRazorFinder:
    """Finds MMRazor's modules, and compiles imports of mmcls as mmpretrain's.

    Only the code of these modules is another, whatever runs it and wherever
    in it they import; nothing changes for the modules of others.
    """

    def find_spec(self, name, path=None, target=None):
        if not name.startswith('mmrazor.'):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader.get_code = functools.partial(_code, spec.loader)
        return spec


def _code(loader, name):
    source = loader.get_data(loader.path)
    if b'mmcls' not in source:
        return SourceFileLoader.get_code(loader, name)
    # Not by way of a file of bytecode, which would be everybody's.
    tree = _Imports().visit(ast.parse(source, loader.path))
    ast.fix_missing_locations(tree)
    return compile(tree, loader.path, 'exec', dont_inherit=True)


class _Imports(ast.NodeTransformer):
    def visit_ImportFrom(self, node):
        module = node.module if node.level else _translate(node.module)
        if module != node.module:
            node.module = module
            for alias in node.names:
                alias.asname = alias.asname or alias.name
                alias.name = _renamed(alias.name)
        return node

    def visit_Import(self, node):
        for alias in [*node.names]:
            new = _translate(alias.name)
            if new != alias.name and alias.asname is None:
                node.names.append(ast.alias('mmpretrain', 'mmcls'))
            alias.name = new
        return node

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""mmcls, which is mmpretrain today."""

import functools
from importlib.util import find_spec
from typing import Optional

from .rebind import rebind


def read_mmcls_as_mmpretrain() -> Optional[bool]:
    """MMRazor's configs name ``mmcls``, which has become ``mmpretrain``.

    MMEngine answers ``mmcls::some/config.py`` by installing mmcls 0.25.0, an
    incompatible release. Where mmcls is not installed, ``mmcls::`` in paths
    and ``mmcls.`` or ``_scope_='mmcls'`` in registries mean mmpretrain.
    """
    if find_spec('mmcls') is not None:
        return False
    import mmengine.hub.hub as hub
    from mmengine.config import Config
    from mmengine.registry import DefaultScope, Registry

    def translate(name):
        is_mmcls = isinstance(name, str) and (
            name == 'mmcls' or name.startswith(('mmcls::', 'mmcls.'))
        )
        return 'mmpretrain' + name[len('mmcls') :] if is_mmcls else name

    def first_translated(function):

        @functools.wraps(function)
        def wrapper(cfg_path, *args, **kwargs):
            return function(translate(cfg_path), *args, **kwargs)

        return wrapper

    Config._get_cfg_path = staticmethod(first_translated(Config._get_cfg_path))
    for function in (hub.get_config, hub.get_model):
        rebind(function, first_translated(function))

    get, switch = Registry.get, Registry.switch_scope_and_registry

    @functools.wraps(get)
    def translated_get(self, key):
        return get(self, translate(key))

    @functools.wraps(switch)
    def translated_switch(self, scope):
        if scope is None:
            default = DefaultScope.get_current_instance()
            if default is not None and default.scope_name == 'mmcls':
                scope = 'mmcls'
        return switch(self, translate(scope))

    Registry.get = translated_get
    Registry.switch_scope_and_registry = translated_switch

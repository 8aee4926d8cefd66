# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What timm does to files of weights."""

import functools
import sys
import types
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Optional

import torch

from ..utils import load_file

# Where it reads files, in its releases before 0.9 and since.
_READERS = (
    *('timm.models.helpers', 'timm.models.hub'),
    *('timm.models._helpers', 'timm.models._hub', 'timm.models._builder'),
)


def read_weights_as_data() -> Optional[bool]:
    """Many of timm's releases run a pickle of weights, on any torch.

    A config names it, as ``checkpoint_path`` or in ``pretrained_cfg``, whose
    files and URLs are read by ``torch.load`` with ``weights_only=False`` (as
    in timm 1.0.19), or with its default. Here they are read as data. That
    waits until timm is imported, which takes a while and few need.
    """
    if 'timm' not in sys.modules and find_spec('timm') is None:
        return False
    for name in _READERS:
        if name in sys.modules:
            _read_as_data(sys.modules[name])
    sys.meta_path.insert(0, _Readers)
    return True


class _Readers:
    """Finds the modules that read, and changes them once they were run."""

    @staticmethod
    def find_spec(
        name: str, path: Any = None, target: Any = None
    ) -> Optional[ModuleSpec]:
        if name not in _READERS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                if module.__name__ in _READERS:  # others may share it
                    _read_as_data(module)

            spec.loader.exec_module = exec_module
        return spec


def _read_as_data(module: ModuleType) -> None:
    # What that module alone sees of torch.
    stand_in = types.ModuleType('torch')
    stand_in.__getattr__ = functools.partial(getattr, torch)
    stand_in.load = _load
    for name, seen in (
        ('torch', stand_in),
        ('load_state_dict_from_url', _load_url),
    ):
        if hasattr(module, name):
            setattr(module, name, seen)


def _load(file: Any, map_location: Any = None, **_: Any) -> Any:
    return load_file(file, map_location)


def _load_url(
    url: str,
    model_dir: Optional[str] = None,
    map_location: Any = None,
    progress: bool = True,
    **_: Any,
) -> Any:
    from mmengine.runner import checkpoint

    return checkpoint.load_url(url, model_dir, map_location, progress)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import functools
import warnings
from typing import Any

from mmengine.registry import Registry


def register_alias(registry: Registry, name: str, cls: type) -> None:
    """Keep an old registered name of a class, which warns when it is used.

    Args:
        registry (Registry): Where the class is registered.
        name (str): The old name.
        cls (type): The class.
    """

    @functools.wraps(cls, updated=())
    def build(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(
            f'{name} is deprecated and will be removed: it is called '
            f'{cls.__name__} now, so change the type in your config.',
            # Python hides DeprecationWarning from users of a program.
            FutureWarning,
            stacklevel=2,
        )
        return cls(*args, **kwargs)

    registry.register_module(name=name, module=build)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import functools
import inspect
import sys
from typing import Any, Callable, Dict


def rebind(old: Any, new: Any, package: str = 'mmengine') -> None:
    """Put ``new`` where a loaded module of ``package`` refers to ``old``."""
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(package + '.'):
            for key, value in list(vars(module).items()):
                if value is old:
                    setattr(module, key, new)


def preceded_by(
    initialize: Callable[..., None], change: Callable[[Dict[str, Any]], None]
) -> Callable[..., None]:
    """An ``__init__`` whose arguments, by name, are changed before."""
    signature = inspect.signature(initialize)

    @functools.wraps(initialize)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        change(bound.arguments)
        initialize(*bound.args, **bound.kwargs)

    return __init__

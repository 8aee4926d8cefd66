# Copyright (c) csd_mmrazor developers. All rights reserved.
import sys
from typing import Any


def rebind(old: Any, new: Any, package: str = 'mmengine') -> None:
    """Put ``new`` where a loaded module of ``package`` refers to ``old``."""
    for name, module in list(sys.modules.items()):
        if name == package or name.startswith(package + '.'):
            for key, value in list(vars(module).items()):
                if value is old:
                    setattr(module, key, new)

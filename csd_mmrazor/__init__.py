# Copyright (c) csd_mmrazor developers. All rights reserved.
"""CSD, data-free distillation with customised images, for MMRazor.

Importing this package repairs MMRazor on today's torch (see ``compat``)
and registers the parts below with MMRazor, where configs find them as
``mmrazor.<name>``.
"""

import gc

from .command_start import prepare_command

prepare_command()

# What is imported stays: to look for what does not takes most of a second. Who
# has settings of their own keeps them.
_is_default = gc.isenabled() and not gc.get_freeze_count()
if _is_default:
    gc.disable()
try:
    from . import compat
    from .version import __version__

    compat.check_versions()
    compat.apply()

    from . import datasets, engine, models
    from .api import distill
finally:
    if _is_default:
        # Among what is old, which is seldom looked through.
        gc.freeze()
        gc.unfreeze()
        gc.enable()

__all__ = [
    '__version__',
    'compat',
    'datasets',
    'distill',
    'engine',
    'models',
]

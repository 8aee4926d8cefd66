# Copyright (c) csd_mmrazor developers. All rights reserved.
"""CSD, data-free distillation with customised images, for MMRazor.

Importing this package repairs MMRazor on today's torch (see ``compat``)
and registers the parts below with MMRazor, where configs find them as
``mmrazor.<name>``.
"""

from .early_signals import answer_early

answer_early()

from . import compat  # noqa: E402
from .version import __version__  # noqa: E402

compat.check_versions()
compat.apply()

from . import datasets, engine, models  # noqa: E402
from .api import distill  # noqa: E402

__all__ = [
    '__version__',
    'compat',
    'datasets',
    'distill',
    'engine',
    'models',
]

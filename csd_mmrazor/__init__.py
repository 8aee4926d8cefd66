# Copyright (c) csd_mmrazor developers. All rights reserved.
"""CSD, data-free distillation with customised images, for MMRazor.

Importing this package repairs MMRazor on today's torch (see ``compat.py``).
"""

from . import compat
from .version import __version__

compat.check_versions()
compat.apply()

__all__ = ['__version__', 'compat']

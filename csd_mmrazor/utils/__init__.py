# Copyright (c) csd_mmrazor developers. All rights reserved.
from .downloads import download_to
from .files import write_file
from .progress import Progress
from .seeds import derive_seed

__all__ = ['Progress', 'derive_seed', 'download_to', 'write_file']

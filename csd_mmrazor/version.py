# Copyright (c) csd_mmrazor developers. All rights reserved.
__version__ = '0.1.0'

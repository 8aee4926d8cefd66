# Copyright (c) csd_mmrazor developers. All rights reserved.
from .csd_generator import CSDGenerator

__all__ = ['CSDGenerator']

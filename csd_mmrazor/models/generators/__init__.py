# Copyright (c) csd_mmrazor developers. All rights reserved.
from .csd_generator import CSDGenerator
from .generator_adapter import GeneratorAdapter, check_makes_inputs
from .pixel_generator import PixelGenerator

__all__ = [
    'CSDGenerator',
    'GeneratorAdapter',
    'PixelGenerator',
    'check_makes_inputs',
]

# Copyright (c) csd_mmrazor developers. All rights reserved.
from .csd_generator import CSDGenerator
from .generator_adapter import GeneratorAdapter, check_makes_inputs
from .noisy_layer_generator import NoisyLayerGenerator
from .pixel_generator import PixelGenerator

__all__ = [
    'CSDGenerator',
    'GeneratorAdapter',
    'NoisyLayerGenerator',
    'PixelGenerator',
    'check_makes_inputs',
]

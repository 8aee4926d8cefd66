# Copyright (c) csd_mmrazor developers. All rights reserved.
from .conditional_generator import ConditionalGenerator
from .csd_generator import CSDGenerator
from .generator_adapter import GeneratorAdapter, check_makes_inputs
from .noisy_layer_generator import NoisyLayerGenerator
from .pixel_generator import PixelGenerator
from .pyramid_generator import PyramidGenerator

__all__ = [
    'CSDGenerator',
    'ConditionalGenerator',
    'GeneratorAdapter',
    'NoisyLayerGenerator',
    'PixelGenerator',
    'PyramidGenerator',
    'check_makes_inputs',
]

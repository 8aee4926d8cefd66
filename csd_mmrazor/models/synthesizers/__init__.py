# Copyright (c) csd_mmrazor developers. All rights reserved.
from .image_synthesizer import (
    ImageSynthesizer,
    NonFiniteSynthesisError,
    SynthesisBatch,
)
from .networks import Networks
from .visualization import image_grid

__all__ = [
    'ImageSynthesizer',
    'Networks',
    'NonFiniteSynthesisError',
    'SynthesisBatch',
    'image_grid',
]

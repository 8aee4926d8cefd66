# Copyright (c) csd_mmrazor developers. All rights reserved.
from .image_synthesizer import (
    ImageSynthesizer,
    NonFiniteSynthesisError,
    SynthesisBatch,
)
from .measures import aux_answers, recognition, variety
from .meta_generator import MetaGenerator
from .networks import Networks
from .visualization import image_grid

__all__ = [
    'ImageSynthesizer',
    'MetaGenerator',
    'Networks',
    'NonFiniteSynthesisError',
    'SynthesisBatch',
    'aux_answers',
    'image_grid',
    'recognition',
    'variety',
]

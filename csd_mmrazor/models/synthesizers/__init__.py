# Copyright (c) csd_mmrazor developers. All rights reserved.
from .best_step import NonFiniteSynthesisError, SynthesisBatch
from .image_synthesizer import ImageSynthesizer
from .meta_generator import MetaGenerator
from .metrics import aux_answers, diversity_metrics, recognition_metrics
from .networks import Networks
from .objective import Objective
from .observer import Observation, Observer, OfTeacher
from .visualization import image_grid

__all__ = [
    'ImageSynthesizer',
    'MetaGenerator',
    'Networks',
    'NonFiniteSynthesisError',
    'Objective',
    'Observation',
    'Observer',
    'OfTeacher',
    'SynthesisBatch',
    'aux_answers',
    'image_grid',
    'recognition_metrics',
    'diversity_metrics',
]

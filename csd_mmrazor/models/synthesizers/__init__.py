# Copyright (c) csd_mmrazor developers. All rights reserved.
from .agreement import agreement, calibration_error, chance_agreement
from .best_step import NonFiniteSynthesisError, SynthesisBatch
from .checks import check_classifiers
from .image_synthesizer import ImageSynthesizer
from .lasting_generator import LastingGenerator
from .meta_generator import MetaGenerator
from .metrics import (
    aux_answers,
    count_unrecognised,
    diversity_metrics,
    recognition_metrics,
    teacher_decisions,
    teacher_logits,
)
from .networks import Networks
from .objective import Objective
from .observer import Observation, Observer, OfTeacher
from .visualization import image_grid

__all__ = [
    'ImageSynthesizer',
    'LastingGenerator',
    'MetaGenerator',
    'Networks',
    'NonFiniteSynthesisError',
    'Objective',
    'Observation',
    'Observer',
    'OfTeacher',
    'SynthesisBatch',
    'agreement',
    'aux_answers',
    'calibration_error',
    'chance_agreement',
    'check_classifiers',
    'count_unrecognised',
    'image_grid',
    'recognition_metrics',
    'diversity_metrics',
    'teacher_decisions',
    'teacher_logits',
]

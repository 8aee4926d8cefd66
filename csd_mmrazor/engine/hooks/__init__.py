# Copyright (c) csd_mmrazor developers. All rights reserved.
from .checkpoint_hook import DurableCheckpointHook
from .divergence_hook import DivergenceHook
from .export_student_hook import ExportStudentHook
from .synthesis_hook import SynthesisHook

__all__ = [
    'DivergenceHook',
    'DurableCheckpointHook',
    'ExportStudentHook',
    'SynthesisHook',
]

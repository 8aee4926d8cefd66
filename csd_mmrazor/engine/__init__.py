# Copyright (c) csd_mmrazor developers. All rights reserved.
from .hooks import (
    DivergenceHook,
    DurableCheckpointHook,
    ExportStudentHook,
    LossReportHook,
    SynthesisHook,
)
from .optimizers import (
    AutocastOptimWrapper,
    DistillationOptimWrapperConstructor,
)

__all__ = [
    'AutocastOptimWrapper',
    'DistillationOptimWrapperConstructor',
    'DivergenceHook',
    'DurableCheckpointHook',
    'ExportStudentHook',
    'LossReportHook',
    'SynthesisHook',
]

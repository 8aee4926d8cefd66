# Copyright (c) csd_mmrazor developers. All rights reserved.
from .hooks import ExportStudentHook, SynthesisHook
from .optimizers import (
    AutocastOptimWrapper,
    DistillationOptimWrapperConstructor,
)

__all__ = [
    'AutocastOptimWrapper',
    'DistillationOptimWrapperConstructor',
    'ExportStudentHook',
    'SynthesisHook',
]

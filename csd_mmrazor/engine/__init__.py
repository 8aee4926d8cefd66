# Copyright (c) csd_mmrazor developers. All rights reserved.
from .hooks import (
    AgreementHook,
    AuxProbeHook,
    DivergenceHook,
    DurableCheckpointHook,
    ExportStudentHook,
    LossReportHook,
    RefitHook,
    ReportHook,
    RunTimerHook,
    StallHook,
    SynthesisHook,
    TeacherBlocksHook,
)
from .optimizers import (
    AutocastOptimWrapper,
    DistillationOptimWrapperConstructor,
)

__all__ = [
    'AgreementHook',
    'AuxProbeHook',
    'AutocastOptimWrapper',
    'DistillationOptimWrapperConstructor',
    'DivergenceHook',
    'DurableCheckpointHook',
    'ExportStudentHook',
    'LossReportHook',
    'RefitHook',
    'ReportHook',
    'RunTimerHook',
    'StallHook',
    'SynthesisHook',
    'TeacherBlocksHook',
]

# Copyright (c) csd_mmrazor developers. All rights reserved.
from .agreement_hook import AgreementHook
from .aux_probe_hook import AuxProbeHook
from .checkpoint_hook import DurableCheckpointHook
from .divergence_hook import DivergenceHook
from .export_student_hook import ExportStudentHook
from .loss_report_hook import LossReportHook
from .refit_hook import RefitHook
from .report_hook import ReportHook
from .run_timer_hook import RunTimerHook
from .stall_hook import StallHook
from .step_seed_hook import StepSeedHook
from .synthesis_hook import SynthesisHook
from .teacher_blocks_hook import TeacherBlocksHook

__all__ = [
    'AgreementHook',
    'AuxProbeHook',
    'DivergenceHook',
    'DurableCheckpointHook',
    'ExportStudentHook',
    'LossReportHook',
    'RefitHook',
    'ReportHook',
    'RunTimerHook',
    'StallHook',
    'StepSeedHook',
    'SynthesisHook',
    'TeacherBlocksHook',
]

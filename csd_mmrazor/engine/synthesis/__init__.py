# Copyright (c) csd_mmrazor developers. All rights reserved.
from .bank_targets import complete_targets, targets_of
from .origins import describe, origins_of
from .report import describe_plan, report_imported, report_round
from .round_runner import EPOCH, HEAD, STEP, TARGETS, RoundRunner
from .run_bank import bank_of, has_images, open_bank

__all__ = [
    'EPOCH',
    'HEAD',
    'RoundRunner',
    'STEP',
    'TARGETS',
    'bank_of',
    'complete_targets',
    'describe',
    'describe_plan',
    'has_images',
    'open_bank',
    'origins_of',
    'report_imported',
    'report_round',
    'targets_of',
]

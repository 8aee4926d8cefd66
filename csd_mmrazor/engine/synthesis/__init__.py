# Copyright (c) csd_mmrazor developers. All rights reserved.
from .report import describe_plan, report_imported, report_round
from .round_runner import EPOCH, HEAD, RoundRunner
from .run_bank import bank_of, open_bank

__all__ = [
    'EPOCH',
    'HEAD',
    'RoundRunner',
    'bank_of',
    'describe_plan',
    'open_bank',
    'report_imported',
    'report_round',
]

# Copyright (c) csd_mmrazor developers. All rights reserved.
from .csd_ddp import CSDDistributedDataParallel
from .csd_distillation import CSDDistillation, check_optimizers

__all__ = [
    'CSDDistillation',
    'CSDDistributedDataParallel',
    'check_optimizers',
]

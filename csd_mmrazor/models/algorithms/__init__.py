# Copyright (c) csd_mmrazor developers. All rights reserved.
from .csd_ddp import CSDDistributedDataParallel
from .csd_distillation import CSDDistillation

__all__ = ['CSDDistillation', 'CSDDistributedDataParallel']

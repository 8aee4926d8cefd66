# Copyright (c) csd_mmrazor developers. All rights reserved.
from .aux_head import SelfSupervisedAuxHead

__all__ = ['SelfSupervisedAuxHead']

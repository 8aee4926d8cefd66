# Copyright (c) csd_mmrazor developers. All rights reserved.
from .autocast_optim_wrapper import AutocastOptimWrapper
from .optim_wrapper_constructor import DistillationOptimWrapperConstructor

__all__ = ['AutocastOptimWrapper', 'DistillationOptimWrapperConstructor']

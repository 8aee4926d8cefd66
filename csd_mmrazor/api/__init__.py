# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Distillation in one call; see :func:`distill`."""

from .call import Plan, Run, distill

__all__ = ['Plan', 'Run', 'distill']

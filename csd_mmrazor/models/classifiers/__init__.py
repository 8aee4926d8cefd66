# Copyright (c) csd_mmrazor developers. All rights reserved.
from .torch_classifier import TorchClassifier

__all__ = ['TorchClassifier']

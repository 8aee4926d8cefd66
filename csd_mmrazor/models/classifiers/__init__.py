# Copyright (c) csd_mmrazor developers. All rights reserved.
from .pruned_network import is_pruned, pruned_network
from .self_supervised_classifier import SelfSupervisedClassifier
from .torch_classifier import TorchClassifier

__all__ = [
    'SelfSupervisedClassifier',
    'TorchClassifier',
    'is_pruned',
    'pruned_network',
]

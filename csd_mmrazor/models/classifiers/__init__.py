# Copyright (c) csd_mmrazor developers. All rights reserved.
from .self_supervised_classifier import SelfSupervisedClassifier

__all__ = ['SelfSupervisedClassifier']

# Copyright (c) csd_mmrazor developers. All rights reserved.
from .algorithms import CSDDistillation, CSDDistributedDataParallel
from .augments import (
    ChannelPermutationTask,
    RandomCropFlip,
    RotationPermutationTask,
    RotationTask,
)
from .backbones import VGG_CIFAR
from .classifiers import TorchClassifier
from .connectors import AlignConnector
from .generators import CSDGenerator
from .heads import SelfSupervisedAuxHead
from .losses import AdversarialLoss, BNStatisticsLoss, CSDLoss, OneHotLoss
from .preprocessors import BankDataPreprocessor
from .synthesizers import (
    ImageSynthesizer,
    Networks,
    NonFiniteSynthesisError,
    SynthesisBatch,
)

__all__ = [
    'AdversarialLoss',
    'AlignConnector',
    'BNStatisticsLoss',
    'BankDataPreprocessor',
    'CSDDistillation',
    'CSDDistributedDataParallel',
    'CSDGenerator',
    'CSDLoss',
    'ChannelPermutationTask',
    'ImageSynthesizer',
    'Networks',
    'NonFiniteSynthesisError',
    'OneHotLoss',
    'RandomCropFlip',
    'RotationPermutationTask',
    'RotationTask',
    'SelfSupervisedAuxHead',
    'SynthesisBatch',
    'TorchClassifier',
    'VGG_CIFAR',
]

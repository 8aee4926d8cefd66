# Copyright (c) csd_mmrazor developers. All rights reserved.
from .algorithms import CSDDistillation, CSDDistributedDataParallel
from .augments import RandomCropFlip, RandomResizedCropFlip, RandomRoll
from .backbones import VGG_CIFAR, CIFARResNet
from .classifiers import (
    SelfSupervisedClassifier,
    TorchClassifier,
    pruned_network,
)
from .connectors import AlignConnector
from .generators import (
    ConditionalGenerator,
    CSDGenerator,
    GeneratorAdapter,
    NoisyLayerGenerator,
    PixelGenerator,
    PyramidGenerator,
)
from .heads import SelfSupervisedAuxHead
from .losses import (
    AdversarialLoss,
    BNStatisticsLoss,
    CompetitionLoss,
    ContrastiveLoss,
    CSDLoss,
    FeatureNormLoss,
    L2PriorLoss,
    MeanTotalVariationLoss,
    MovingBNStatisticsLoss,
    OneHotLoss,
    PatchSimilarityLoss,
    TotalVariationLoss,
)
from .preprocessors import BankDataPreprocessor
from .pretext_tasks import (
    ChannelPermutationTask,
    FlipTask,
    HalfShiftTask,
    RotationPermutationTask,
    RotationTask,
)
from .synthesizers import (
    ImageSynthesizer,
    LastingGenerator,
    MetaGenerator,
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
    'FeatureNormLoss',
    'FlipTask',
    'HalfShiftTask',
    'CompetitionLoss',
    'ConditionalGenerator',
    'ContrastiveLoss',
    'GeneratorAdapter',
    'ImageSynthesizer',
    'L2PriorLoss',
    'LastingGenerator',
    'MeanTotalVariationLoss',
    'MetaGenerator',
    'MovingBNStatisticsLoss',
    'Networks',
    'NoisyLayerGenerator',
    'NonFiniteSynthesisError',
    'OneHotLoss',
    'PatchSimilarityLoss',
    'PixelGenerator',
    'PyramidGenerator',
    'RandomCropFlip',
    'RandomResizedCropFlip',
    'RandomRoll',
    'RotationPermutationTask',
    'RotationTask',
    'SelfSupervisedAuxHead',
    'SelfSupervisedClassifier',
    'SynthesisBatch',
    'TorchClassifier',
    'TotalVariationLoss',
    'pruned_network',
    'CIFARResNet',
    'VGG_CIFAR',
]

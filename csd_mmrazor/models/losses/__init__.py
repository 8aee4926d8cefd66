# Copyright (c) csd_mmrazor developers. All rights reserved.
from .adversarial_loss import AdversarialLoss
from .base import WeightedLoss
from .bn_statistics_loss import BNStatisticsLoss, MovingBNStatisticsLoss
from .competition_loss import CompetitionLoss
from .contrastive_loss import ContrastiveLoss
from .csd_loss import CSDLoss
from .one_hot_loss import OneHotLoss
from .prior_losses import (
    L2PriorLoss,
    MeanTotalVariationLoss,
    TotalVariationLoss,
)
from .relative_l2_loss import RelativeL2Loss
from .token_losses import FeatureNormLoss, PatchSimilarityLoss

__all__ = [
    'AdversarialLoss',
    'BNStatisticsLoss',
    'CSDLoss',
    'CompetitionLoss',
    'ContrastiveLoss',
    'FeatureNormLoss',
    'L2PriorLoss',
    'MeanTotalVariationLoss',
    'MovingBNStatisticsLoss',
    'OneHotLoss',
    'PatchSimilarityLoss',
    'RelativeL2Loss',
    'TotalVariationLoss',
    'WeightedLoss',
]

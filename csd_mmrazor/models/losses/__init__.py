# Copyright (c) csd_mmrazor developers. All rights reserved.
from .adversarial_loss import AdversarialLoss
from .bn_statistics_loss import BNStatisticsLoss
from .csd_loss import CSDLoss
from .one_hot_loss import OneHotLoss

__all__ = ['AdversarialLoss', 'BNStatisticsLoss', 'CSDLoss', 'OneHotLoss']

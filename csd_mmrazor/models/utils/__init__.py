# Copyright (c) csd_mmrazor developers. All rights reserved.
from .checkpoints import load_weights
from .features import (
    layer_means,
    pooled_features,
    recorded_outputs,
    submodule,
)
from .frozen_bn import BNStatistics, bn_layers, frozen_bn
from .modes import evaluating, frozen, reset_weights
from .recorders import attached, check_recorders

__all__ = [
    'BNStatistics',
    'bn_layers',
    'frozen_bn',
    'attached',
    'check_recorders',
    'evaluating',
    'frozen',
    'layer_means',
    'load_weights',
    'pooled_features',
    'recorded_outputs',
    'reset_weights',
    'submodule',
]

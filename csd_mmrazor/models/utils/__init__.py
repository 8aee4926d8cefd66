# Copyright (c) csd_mmrazor developers. All rights reserved.
from .checkpoints import load_weights
from .features import (
    as_map,
    layer_means,
    pooled_features,
    recorded_outputs,
    submodule,
)
from .frozen_bn import BNStatistics, bn_layers, frozen_bn
from .modes import evaluating, frozen, reset_weights
from .recorders import (
    attached,
    check_mappings,
    check_recorders,
    distill_losses,
    full_precision,
    record_labels,
)

__all__ = [
    'BNStatistics',
    'bn_layers',
    'frozen_bn',
    'as_map',
    'attached',
    'check_mappings',
    'check_recorders',
    'distill_losses',
    'evaluating',
    'frozen',
    'full_precision',
    'layer_means',
    'load_weights',
    'pooled_features',
    'record_labels',
    'recorded_outputs',
    'reset_weights',
    'submodule',
]

# Copyright (c) csd_mmrazor developers. All rights reserved.
from .bank_preprocessor import (
    BankDataPreprocessor,
    calls,
    check_preprocessor,
    check_scale,
    normalize_images,
    own_preprocessor,
    same_inputs,
)

__all__ = [
    'BankDataPreprocessor',
    'calls',
    'check_preprocessor',
    'check_scale',
    'normalize_images',
    'own_preprocessor',
    'same_inputs',
]

# Copyright (c) csd_mmrazor developers. All rights reserved.
from .bank_preprocessor import BankDataPreprocessor, normalize_images

__all__ = ['BankDataPreprocessor', 'normalize_images']

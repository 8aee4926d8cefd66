# Copyright (c) csd_mmrazor developers. All rights reserved.
from .crop_flip import RandomCropFlip, check_padding
from .resized_crop import RandomResizedCropFlip
from .roll import RandomRoll

__all__ = [
    'RandomCropFlip',
    'RandomResizedCropFlip',
    'RandomRoll',
    'check_padding',
]

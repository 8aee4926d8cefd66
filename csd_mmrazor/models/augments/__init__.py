# Copyright (c) csd_mmrazor developers. All rights reserved.
from .crop_flip import RandomCropFlip
from .resized_crop import RandomResizedCropFlip

__all__ = ['RandomCropFlip', 'RandomResizedCropFlip']

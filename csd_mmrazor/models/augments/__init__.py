# Copyright (c) csd_mmrazor developers. All rights reserved.
from .crop_flip import RandomCropFlip
from .resized_crop import RandomResizedCropFlip
from .self_supervision import (
    ChannelPermutationTask,
    FlipTask,
    QuartersTask,
    RotationPermutationTask,
    RotationTask,
    joint_labels,
)

__all__ = [
    'ChannelPermutationTask',
    'FlipTask',
    'QuartersTask',
    'RandomCropFlip',
    'RandomResizedCropFlip',
    'RotationPermutationTask',
    'RotationTask',
    'joint_labels',
]

# Copyright (c) csd_mmrazor developers. All rights reserved.
from .crop_flip import RandomCropFlip
from .resized_crop import RandomResizedCropFlip
from .self_supervision import (
    ChannelPermutationTask,
    RotationPermutationTask,
    RotationTask,
    joint_labels,
)

__all__ = [
    'ChannelPermutationTask',
    'RandomCropFlip',
    'RandomResizedCropFlip',
    'RotationPermutationTask',
    'RotationTask',
    'joint_labels',
]

# Copyright (c) csd_mmrazor developers. All rights reserved.
from .tasks import (
    ChannelPermutationTask,
    FlipTask,
    HalfShiftTask,
    RotationPermutationTask,
    RotationTask,
)
from .transforms import joint_labels

__all__ = [
    'ChannelPermutationTask',
    'FlipTask',
    'HalfShiftTask',
    'RotationPermutationTask',
    'RotationTask',
    'joint_labels',
]

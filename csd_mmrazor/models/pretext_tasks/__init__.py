# Copyright (c) csd_mmrazor developers. All rights reserved.
from .checks import check_views
from .tasks import (
    ChannelPermutationTask,
    FlipTask,
    HalfShiftTask,
    RotationPermutationTask,
    RotationTask,
)
from .transforms import (
    check_views_per_image,
    chosen_views,
    draw_views,
    joint_labels,
)

__all__ = [
    'ChannelPermutationTask',
    'FlipTask',
    'HalfShiftTask',
    'RotationPermutationTask',
    'RotationTask',
    'check_views',
    'check_views_per_image',
    'chosen_views',
    'draw_views',
    'joint_labels',
]

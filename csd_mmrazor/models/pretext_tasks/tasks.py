# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Pretext tasks for the auxiliary head; add one here and register it."""

from mmrazor.registry import TASK_UTILS
from torch import Tensor

from ...utils import register_alias
from .transforms import flip, permute_channels, rotate, shift_halves


@TASK_UTILS.register_module()
class RotationTask:
    """Recognise 4 rotations: the paper's task (CSD section 3.2)."""

    num_views = 4

    def views(self, images: Tensor) -> Tensor:
        """Views of a batch: (N, C, S, S) to (N * num_views, C, S, S)."""
        return rotate(images).flatten(0, 1)


@TASK_UTILS.register_module()
class ChannelPermutationTask:
    """Recognise 6 orders of the colour channels (Lee et al., 2020)."""

    num_views = 6

    def views(self, images: Tensor) -> Tensor:
        """Views of a batch: (N, 3, H, W) to (N * num_views, 3, H, W)."""
        return permute_channels(images).flatten(0, 1)


@TASK_UTILS.register_module()
class RotationPermutationTask:
    """Recognise 4 rotations times 6 colour orders (Lee et al., 2020)."""

    num_views = 24

    def views(self, images: Tensor) -> Tensor:
        """Views of a batch: (N, 3, S, S) to (N * num_views, 3, S, S)."""
        return permute_channels(rotate(images).flatten(0, 1)).flatten(0, 1)


@TASK_UTILS.register_module()
class FlipTask:
    """Recognise 4 mirrorings, of images of any shape."""

    num_views = 4

    def views(self, images: Tensor) -> Tensor:
        """Views of a batch: (N, C, H, W) to (N * num_views, C, H, W)."""
        return flip(images).flatten(0, 1)


@TASK_UTILS.register_module()
class HalfShiftTask:
    """Recognise 4 shifts of an image by half its height and width.

    The smallest of the jigsaw puzzles of Noroozi and Favaro (ECCV 2016).
    """

    num_views = 4

    def views(self, images: Tensor) -> Tensor:
        """Views of a batch: (N, C, H, W) to (N * num_views, C, H, W)."""
        return shift_halves(images).flatten(0, 1)


register_alias(TASK_UTILS, 'QuartersTask', HalfShiftTask)

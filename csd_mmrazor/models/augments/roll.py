# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch
import torch.nn as nn
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer, check_probability


@MODELS.register_module()
class RandomRoll(nn.Module):
    """DeepInversion's jitter: all images are shifted alike, round the edges.

    One offset and one flip are drawn for the whole batch (authors' code,
    github NVlabs/DeepInversion, cifar10).

    Args:
        shift (int): Most pixels to roll by in each direction, 0 or more.
            Defaults to 2 (authors' code).
        flip_prob (float): Probability that all images are mirrored, 0..1.
            Defaults to 0.
    """

    def __init__(self, shift: int = 2, flip_prob: float = 0.0) -> None:
        super().__init__()
        check_integer('shift of RandomRoll', shift, 0)
        check_probability('flip_prob of RandomRoll', flip_prob)
        self.shift = shift
        self.flip_prob = flip_prob

    def forward(self, images: Tensor) -> Tensor:
        """Augment a batch, (N, C, H, W), any dtype."""
        # Drawn on the CPU, so that no step waits for the device.
        down, right = (
            torch.randint(2 * self.shift + 1, (2,), device='cpu') - self.shift
        ).tolist()
        rolled = images.roll((down, right), (2, 3))
        flip = torch.rand((), device='cpu').item() < self.flip_prob
        return rolled.flip(3) if flip else rolled

    def extra_repr(self) -> str:
        return f'shift={self.shift}, flip_prob={self.flip_prob}'

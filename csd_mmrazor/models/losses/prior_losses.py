# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Tuple

import torch
from mmrazor.registry import MODELS
from torch import Tensor

from .base import WeightedLoss


def neighbour_differences(inputs: Tensor) -> Tuple[Tensor, ...]:
    """Differences of each pixel of (N, C, H, W) to the next in 4 directions.

    They are right, down and both diagonals.
    """
    return (
        inputs[..., :, 1:] - inputs[..., :, :-1],
        inputs[..., 1:, :] - inputs[..., :-1, :],
        inputs[..., 1:, 1:] - inputs[..., :-1, :-1],
        inputs[..., 1:, :-1] - inputs[..., :-1, 1:],
    )


def total_variation(inputs: Tensor) -> Tensor:
    """How far neighbouring pixels of a batch are apart.

    The sum over the four directions (right, down and both diagonals) of the
    Euclidean norm of all differences to the next pixel there.

    Args:
        inputs (Tensor): (N, C, H, W).

    Returns:
        Tensor: A scalar.
    """
    return sum(
        torch.linalg.vector_norm(each)
        for each in neighbour_differences(inputs)
    )


@MODELS.register_module()
class TotalVariationLoss(WeightedLoss):
    """Images are to be smooth: DeepInversion's first prior.

    Yin et al., CVPR 2020, equation 3, on normalised images as in the authors'
    code for CIFAR-10 (NVlabs/DeepInversion, cifar10), which weighs it 2.5e-5
    for the paper's results.
    """

    def __init__(self, loss_weight: float = 2.5e-5) -> None:
        super().__init__(loss_weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """The weighted term, a scalar; see :func:`total_variation`."""
        return self.loss_weight * total_variation(inputs)


@MODELS.register_module()
class MeanTotalVariationLoss(WeightedLoss):
    """The same by mean absolute differences, before augmentation.

    The sum over the four directions of the mean of all absolute differences
    of normalised pixels, as DeepInversion's prior is computed in github
    zju-vipa/CMI (datafree/criterions.py), which weighs it 0.001.
    """

    def __init__(self, loss_weight: float = 1e-3) -> None:
        super().__init__(loss_weight)

    def forward(self, plain_inputs: Tensor) -> Tensor:
        """The weighted term of (N, C, H, W), a scalar."""
        # Images of one row or column have no neighbours in some directions.
        means = [
            each.abs().mean() if each.numel() else each.sum()
            for each in neighbour_differences(plain_inputs)
        ]
        return self.loss_weight * torch.stack(means).sum()


@MODELS.register_module()
class L2PriorLoss(WeightedLoss):
    """Images are to be small: DeepInversion's second prior.

    The Euclidean norm of the batch of normalised images (Yin et al., CVPR
    2020, equation 3; authors' code). It weighs 3e-8 in the paper's
    experiments on CIFAR-10 and 0 in the code's.
    """

    def __init__(self, loss_weight: float = 3e-8) -> None:
        super().__init__(loss_weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """The weighted term of (N, C, H, W), a scalar."""
        return self.loss_weight * torch.linalg.vector_norm(inputs)

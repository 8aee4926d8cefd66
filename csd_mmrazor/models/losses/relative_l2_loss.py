# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch.nn as nn
from mmrazor.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class RelativeL2Loss(nn.Module):
    """Squared distance of two feature maps, by the size of the teacher's.

    ``||s - t||^2 / ||t||^2`` over a batch: 1 for a student that returns 0,
    whatever the layer. So one weight does for all layers, while means of
    squares (MMRazor's ``L2Loss``) differ by orders of magnitude. It is a loss
    of students, for a distiller.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, s_feature: Tensor, t_feature: Tensor) -> Tensor:
        """The weighted loss.

        Args:
            s_feature (Tensor): Of the student, (N, ...).
            t_feature (Tensor): Of the teacher, of the same shape.

        Returns:
            Tensor: A scalar, 0 or more.

        Raises:
            ValueError: If the shapes differ.
        """
        if s_feature.shape != t_feature.shape:
            raise ValueError(
                f'RelativeL2Loss got {tuple(s_feature.shape)} of the student '
                f'and {tuple(t_feature.shape)} of the teacher: record layers '
                'of one shape, or put an AlignConnector between them.'
            )
        # A layer that is dead would divide by 0.
        size = t_feature.square().sum().clamp(min=1e-12)
        distance = (s_feature - t_feature).square().sum() / size
        return self.loss_weight * distance

# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch import Tensor

from .base import WeightedLoss


@MODELS.register_module()
class OneHotLoss(WeightedLoss):
    """Cross entropy of the teacher on the classes that were asked for.

    CSD section 3.1; weight 1 in the authors' scripts. Not to be confused with
    MMRazor's ``OnehotLikeLoss``, which takes the teacher's own decision.
    """

    def forward(self, logits_t: Tensor, labels: Tensor) -> Tensor:
        """The weighted term.

        Args:
            logits_t (Tensor): The teacher's logits, (N, K).
            labels (Tensor): Classes asked for, (N, ).

        Returns:
            Tensor: A scalar.
        """
        return self.loss_weight * F.cross_entropy(logits_t, labels)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch import Tensor

from .base import WeightedLoss


@MODELS.register_module()
class CSDLoss(WeightedLoss):
    """The term that customises images to the student (CSD section 3.3).

    The auxiliary task's cross entropy with a minus sign: images are pushed to
    where the student tells transforms and classes apart badly. With the
    head's logits of length 1 it is bounded by ``log(K * T) + 2`` in size,
    times its weight.
    """

    def __init__(self, loss_weight: float = 10.0) -> None:
        # 10: authors' script scripts/csd/csd_cifar10_wrn402_wrn161.sh
        super().__init__(loss_weight)

    def forward(self, aux_logits: Tensor, joint_labels: Tensor) -> Tensor:
        """The weighted term.

        Args:
            aux_logits (Tensor): The auxiliary head's logits of all views,
                (N * T, K * T).
            joint_labels (Tensor): Joint labels of the views, (N * T, ).

        Returns:
            Tensor: A scalar, 0 or less.
        """
        return -self.loss_weight * F.cross_entropy(aux_logits, joint_labels)

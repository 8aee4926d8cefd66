# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch import Tensor

from .base import WeightedLoss


@MODELS.register_module()
class AdversarialLoss(WeightedLoss):
    """Images are pushed to where student and teacher disagree.

    The negative Kullback-Leibler divergence of the student's distribution
    from the teacher's, ``sum p_t (log p_t - log p_s)``, averaged over the
    batch, as DFQ (Choi et al., CVPR Workshops 2020) and CMI use it (authors'
    code, datafree/criterions.py).

    Args:
        loss_weight (float): Defaults to 1.
        agreed_only (bool): Whether images count only where student and
            teacher decide alike, "decision adversarial" (CMI, Fang et al.,
            IJCAI 2021; authors' code of CMI and Fast-Datafree). Defaults to
            False.
    """

    def __init__(
        self, loss_weight: float = 1.0, agreed_only: bool = False
    ) -> None:
        super().__init__(loss_weight)
        self.agreed_only = agreed_only

    def forward(self, logits_s: Tensor, logits_t: Tensor) -> Tensor:
        """The weighted term.

        Args:
            logits_s (Tensor): The student's logits, (N, K).
            logits_t (Tensor): The teacher's logits, (N, K). Gradients reach
                the images through both.

        Returns:
            Tensor: A scalar, 0 or less.
        """
        target = F.softmax(logits_t, 1)
        divergence = F.kl_div(
            F.log_softmax(logits_s, 1),
            # At 0, as of a teacher that is very sure, the gradient is NaN.
            target.clamp(min=torch.finfo(target.dtype).tiny),
            reduction='none' if self.agreed_only else 'batchmean',
        )
        if self.agreed_only:
            agreed = logits_s.argmax(1) == logits_t.argmax(1)
            divergence = (divergence.sum(1) * agreed).mean()
        return -self.loss_weight * divergence

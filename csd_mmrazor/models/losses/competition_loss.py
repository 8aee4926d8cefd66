# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_positive
from .base import WeightedLoss


def jensen_shannon(
    logits_a: Tensor, logits_b: Tensor, tau: float = 1.0
) -> Tensor:
    """Jensen-Shannon divergence of two batches of distributions.

    ``(KL(a || m) + KL(b || m)) / 2`` with ``m = (a + b) / 2``, in nats,
    averaged over the batch.

    Args:
        logits_a (Tensor): (N, K).
        logits_b (Tensor): (N, K).
        tau (float): Temperature of both. Defaults to 1.

    Returns:
        Tensor: A scalar in 0..log(2).
    """
    log_a = F.log_softmax(logits_a / tau, 1)
    log_b = F.log_softmax(logits_b / tau, 1)
    log_m = torch.logaddexp(log_a, log_b) - torch.log(log_a.new_tensor(2.0))
    kl_a, kl_b = (
        F.kl_div(log_m, each, reduction='batchmean', log_target=True)
        for each in (log_a, log_b)
    )
    return 0.5 * kl_a + 0.5 * kl_b


@MODELS.register_module()
class CompetitionLoss(WeightedLoss):
    """Images are pushed to where student and teacher disagree, boundedly.

    ``1 - JS(teacher, student)``, Adaptive DeepInversion's term (Yin et al.,
    CVPR 2020, equation 9). The authors' code has temperature 3, swaps the
    arguments of the two divergences and clamps probabilities to 0.01..0.99;
    here it is the paper's formula.

    Args:
        loss_weight (float): Defaults to 1.
        tau (float): Temperature, above 0. Defaults to 3 (authors' code).
    """

    def __init__(self, loss_weight: float = 1.0, tau: float = 3.0) -> None:
        super().__init__(loss_weight)
        check_positive('tau of CompetitionLoss', tau)
        self.tau = tau

    def forward(self, logits_s: Tensor, logits_t: Tensor) -> Tensor:
        """The weighted term.

        Args:
            logits_s (Tensor): The student's logits, (N, K).
            logits_t (Tensor): The teacher's logits, (N, K).

        Returns:
            Tensor: A scalar, above 0.
        """
        divergence = jensen_shannon(logits_s, logits_t, self.tau)
        return self.loss_weight * (1 - divergence)

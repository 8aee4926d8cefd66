# Copyright (c) csd_mmrazor developers. All rights reserved.
import math

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
    log_m = torch.logaddexp(log_a, log_b) - math.log(2)
    kl_a, kl_b = (
        F.kl_div(log_m, each, reduction='batchmean', log_target=True)
        for each in (log_a, log_b)
    )
    return 0.5 * kl_a + 0.5 * kl_b


def clamped_jensen_shannon(
    logits_a: Tensor, logits_b: Tensor, tau: float = 1.0
) -> Tensor:
    """What the authors of DeepInversion compute in its place.

    ``(KL(m || a) + KL(m || b)) / 2``, with the arguments of both divergences
    swapped, of probabilities that are clamped to 0.01..0.99 (authors' code,
    cifar10/deepinversion_cifar10.py).

    Args:
        logits_a (Tensor): (N, K).
        logits_b (Tensor): (N, K).
        tau (float): Temperature of both. Defaults to 1.

    Returns:
        Tensor: A scalar.
    """
    a, b = F.softmax(logits_a / tau, 1), F.softmax(logits_b / tau, 1)
    mean = ((a + b) / 2).clamp(0.01, 0.99)
    kl_a, kl_b = (
        F.kl_div(each.clamp(0.01, 0.99).log(), mean, reduction='batchmean')
        for each in (a, b)
    )
    return (kl_a + kl_b) / 2


@MODELS.register_module()
class CompetitionLoss(WeightedLoss):
    """Images are pushed to where student and teacher disagree, boundedly.

    ``1 - JS(teacher, student)``, Adaptive DeepInversion's term (Yin et al.,
    CVPR 2020, equation 9).

    Args:
        loss_weight (float): Defaults to 1.
        tau (float): Temperature, above 0. Defaults to 3 (authors' code).
        clamped (bool): Whether the divergence is that of the authors' code,
            :func:`clamped_jensen_shannon`, limited to 0..1, and not the
            paper's. Defaults to False.
    """

    def __init__(
        self,
        loss_weight: float = 1.0,
        tau: float = 3.0,
        clamped: bool = False,
    ) -> None:
        super().__init__(loss_weight)
        check_positive('tau of CompetitionLoss', tau)
        self.tau = tau
        self.clamped = clamped

    def forward(self, logits_s: Tensor, logits_t: Tensor) -> Tensor:
        """The weighted term.

        Args:
            logits_s (Tensor): The student's logits, (N, K).
            logits_t (Tensor): The teacher's logits, (N, K).

        Returns:
            Tensor: A scalar, 0 or more.
        """
        if self.clamped:
            divergence = clamped_jensen_shannon(logits_s, logits_t, self.tau)
            divergence = divergence.clamp(0, 1)
        else:
            divergence = jensen_shannon(logits_s, logits_t, self.tau)
        return self.loss_weight * (1 - divergence)

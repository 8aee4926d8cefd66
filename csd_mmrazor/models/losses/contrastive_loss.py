# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, Optional, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer, check_positive
from .base import WeightedLoss


def contrastive_loss(
    views: Tensor, others: Tensor, num_new: int, tau: float
) -> Tensor:
    """Each view is to be nearest to the other view of the same image.

    Cross entropy of cosine similarities over ``tau`` (InfoNCE). The means over
    new and remembered images are added, so that many of the latter do not
    drown the gradient of the former (authors' code).

    Args:
        views (Tensor): Embeddings of length 1, (N + M, D): of N new images
            and then of M remembered ones.
        others (Tensor): Embeddings of another view of each, (N + M, D).
        num_new (int): N.
        tau (float): Temperature.

    Returns:
        Tensor: A scalar, 0 or more.
    """
    places = torch.arange(len(views), device=views.device)
    losses = F.cross_entropy(
        views @ others.T / tau, places, reduction='none'
    )  # (N + M, )
    loss = losses[:num_new].mean()
    if len(views) > num_new:
        loss = loss + losses[num_new:].mean()
    return loss


@MODELS.register_module()
class ContrastiveLoss(WeightedLoss):
    """Images are to be distinguishable from all that were made before.

    CMI, Contrastive Model Inversion (Fang et al., IJCAI 2021, equations 5 to
    7): two views of an image are a pair, all other images, new and
    remembered, are negatives. They are compared in an embedding that a small
    head makes of the teacher's features; it is trained with the images, by an
    optimizer of its own, and both last from round to round.

    The features of an image are remembered when it joins the bank, as the
    teacher sees it there. Those of a run that is resumed are computed again,
    so there is no second memory to save.

    Args:
        loss_weight (float): Defaults to 0.8 (authors' scripts).
        tau (float): Temperature, above 0. Defaults to 0.1 (authors' scripts
            for the published results).
        embed_dim (int): Width of the embedding. Defaults to 256 (authors'
            code, datafree_kd.py).
        memory_size (int): Images of the bank to compare with, 0 or more,
            drawn in each step. Defaults to 4096 (authors' code).
        memory_capacity (int): Of how many of the newest images they are
            drawn, or of the ``capacity`` of the bank, if that is fewer.
            Defaults to 40960 (authors' code).
        optimizer (dict, optional): The head's. None trains it by the
            optimizer of the round. Defaults to Adam, lr 1e-3, betas (0.9,
            0.999) (authors' code).
    """

    def __init__(
        self,
        loss_weight: float = 0.8,
        tau: float = 0.1,
        embed_dim: int = 256,
        memory_size: int = 4096,
        memory_capacity: int = 40960,
        optimizer: Optional[Dict[str, Any]] = dict(type='Adam', lr=1e-3),
    ) -> None:
        super().__init__(loss_weight)
        check_positive('tau of ContrastiveLoss', tau)
        check_integer('embed_dim of ContrastiveLoss', embed_dim)
        check_integer('memory_size of ContrastiveLoss', memory_size, 0)
        check_integer(
            'memory_capacity of ContrastiveLoss', memory_capacity, memory_size
        )
        self.tau = tau
        self.memory_capacity = memory_capacity
        self.optimizer = optimizer and dict(optimizer)
        self.embed_dim = embed_dim
        self.memory_size = memory_size

    def prepare(self, channels: Sequence[int]) -> None:
        """Draw the head.

        Args:
            channels (sequence[int]): Channels of the teacher's BN layers.
        """
        width = sum(channels)
        self.head = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(inplace=True),
            nn.Linear(width, self.embed_dim),
        )

    def forward(
        self,
        features_t: Tensor,
        view_features_t: Tensor,
        memory_features_t: Tensor,
        memory_view_features_t: Tensor,
    ) -> Tensor:
        """The weighted term.

        Args:
            features_t (Tensor): The teacher's features of the images, (N, D).
            view_features_t (Tensor): Of another view of them, (N, D).
            memory_features_t (Tensor): Of M images of the bank, (M, D).
            memory_view_features_t (Tensor): Of another view of those.

        Returns:
            Tensor: A scalar, 0 or more.
        """
        views = torch.cat([view_features_t, memory_view_features_t])
        others = torch.cat([features_t, memory_features_t])
        embedded = F.normalize(self.head(torch.cat([views, others])), dim=1)
        views, others = embedded.chunk(2)
        # The other view is the goal: no gradient passes through it.
        return self.loss_weight * contrastive_loss(
            views, others.detach(), len(features_t), self.tau
        )

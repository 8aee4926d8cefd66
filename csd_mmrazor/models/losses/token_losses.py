# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Priors of images for teachers that have no BN layers."""

import math
from typing import Sequence

import torch
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer
from .base import WeightedLoss

# Bandwidth of the density of similarities, and places where it is looked at.
_BANDWIDTH, _PLACES = 0.05, 64


def similarity_entropy(tokens: Tensor, most: int = 49) -> Tensor:
    """Differential entropy of how alike the places of an image are.

    That of the density of all cosine similarities between two of its tokens,
    estimated by Gaussian kernels of bandwidth 0.05. It is low where all
    places are alike, as for noise, or all differ alike.

    Args:
        tokens (Tensor): (N, L, D).
        most (int): Of more tokens, as many are taken, evenly spaced. Defaults
            to 49.

    Returns:
        Tensor: In nats, (N, ).
    """
    length = tokens.shape[1]
    if length > most:
        places = torch.arange(most, device=tokens.device) * length // most
        tokens = tokens[:, places]
    tokens = F.normalize(tokens, dim=2)
    rows, columns = torch.triu_indices(
        tokens.shape[1], tokens.shape[1], 1, device=tokens.device
    )
    alike = (tokens @ tokens.transpose(1, 2))[:, rows, columns]
    # Beyond them a kernel at the end has no mass left.
    end = 1 + 4 * _BANDWIDTH
    grid = torch.linspace(-end, end, _PLACES, device=tokens.device)
    kernels = torch.exp(-0.5 * ((grid - alike.unsqueeze(2)) / _BANDWIDTH) ** 2)
    density = kernels.mean(1) / (_BANDWIDTH * math.sqrt(2 * math.pi))
    # At 0, the slope of its logarithm has no end.
    return torch.trapezoid(
        torch.special.entr(density.clamp(min=1e-12)), grid, dim=1
    )


@MODELS.register_module()
class PatchSimilarityLoss(WeightedLoss):
    """The places of an image are to be of several kinds, as in natural ones.

    Minus the :func:`similarity_entropy`, the mean over the layers and images,
    from PSAQ-ViT (Li et al., ECCV 2022, equations 4 to 6). There, tokens are
    the outputs of attention modules, and the layers' entropies are added up.
    Here they are the inputs of LayerNorm (and GroupNorm), which ConvNeXt and
    others have too, and their mean is taken, so that a weight means the same
    for networks of any depth.

    Args:
        loss_weight (float): Defaults to 1 (the paper's).
        most (int): How many tokens of a layer are compared. Defaults to 49.
    """

    def __init__(self, loss_weight: float = 1.0, most: int = 49) -> None:
        super().__init__(loss_weight)
        check_integer('most of PatchSimilarityLoss', most, 4)
        self.most = most

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """The weighted term, a scalar."""
        entropies = [similarity_entropy(t, self.most).mean() for t in tokens]
        return -self.loss_weight * torch.stack(entropies).mean()


@MODELS.register_module()
class FeatureNormLoss(WeightedLoss):
    """No image is to drive the features of a network further than others.

    The variance over the batch of the logarithm of an image's mean token
    norm, the mean over the layers. LayerNorm hides the size of features from
    the layers after it, so the classes alone leave it free, and images that
    fool a network are often far from others in it.
    """

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """The weighted term, a scalar."""
        sizes = [
            torch.linalg.vector_norm(each, dim=2).mean(1).clamp(min=1e-6)
            for each in tokens
        ]
        variances = [each.log().var(correction=0) for each in sizes]
        return self.loss_weight * torch.stack(variances).mean()

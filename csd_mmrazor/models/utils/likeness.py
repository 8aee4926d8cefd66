# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import NamedTuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .outputs import logits_of

# Images of a pass.
BATCH = 64


class Likeness(NamedTuple):
    """How a network is like its teacher."""

    kl: float  # KL(teacher || network), mean over images
    agreement: float  # share of images for which both decide alike, 0..1


def log_shares(model: nn.Module, inputs: Tensor) -> Tensor:
    """Logarithms of the shares of all classes, (N, K), float64."""
    return torch.cat(
        [
            logits_of(model(part, mode='tensor')).double().log_softmax(1)
            for part in inputs.split(BATCH)
        ]
    )


def likeness(expected: Tensor, found: Tensor) -> Likeness:
    """Compare the :func:`log_shares` of a teacher and of a network."""
    kl = F.kl_div(found, expected, reduction='batchmean', log_target=True)
    alike = expected.argmax(1) == found.argmax(1)
    return Likeness(kl.item(), alike.double().mean().item())

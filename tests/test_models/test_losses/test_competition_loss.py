# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Adaptive DeepInversion's term against SciPy's divergence."""

import math

import numpy as np
import pytest
import torch
from helpers import build
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax

from csd_mmrazor.models import CompetitionLoss


@pytest.mark.parametrize('tau', [1.0, 3.0])
def test_equals_scipy(tau):
    logits_s, logits_t = 3 * torch.randn(2, 7, 5)
    p, q = (
        softmax(logits.numpy().astype(np.float64) / tau, 1)
        for logits in (logits_s, logits_t)
    )
    expected = 1 - np.mean(jensenshannon(p, q, axis=1) ** 2)
    loss = CompetitionLoss(2.0, tau)(logits_s=logits_s, logits_t=logits_t)
    assert loss.item() == pytest.approx(2 * expected, rel=1e-5)


def test_is_bounded():
    same = torch.randn(4, 5)
    assert CompetitionLoss(1.0)(same, same).item() == pytest.approx(1)
    apart = 1e4 * torch.eye(2)
    loss = CompetitionLoss(1.0, tau=1)(apart, apart.flip(0))
    assert loss.item() == pytest.approx(1 - math.log(2))


def test_gradient_by_finite_differences():
    a, b = torch.randn(2, 4, 6, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        CompetitionLoss(1.5), (a.requires_grad_(), b.requires_grad_())
    )


@pytest.mark.parametrize('tau', [0, -1, float('nan')])
def test_bad_temperature(tau):
    with pytest.raises(ValueError, match='tau of CompetitionLoss .* but got'):
        build(dict(type='CompetitionLoss', tau=tau))

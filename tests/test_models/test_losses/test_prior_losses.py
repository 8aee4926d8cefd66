# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Priors of images against loops over pixels in float64."""

import numpy as np
import pytest
import torch
from helpers import build

from csd_mmrazor.models import (
    L2PriorLoss,
    MeanTotalVariationLoss,
    TotalVariationLoss,
)
from csd_mmrazor.models.losses.prior_losses import total_variation


def test_total_variation_equals_a_loop_over_pixels():
    inputs = torch.randn(3, 2, 5, 4)
    pixels = inputs.numpy().astype(np.float64)
    expected = mean = 0
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        squares, absolute = 0, []
        for y in range(5):
            for x in range(4):
                if y + down < 5 and 0 <= x + right < 4:
                    step = pixels[:, :, y + down, x + right]
                    squares += ((step - pixels[:, :, y, x]) ** 2).sum()
                    absolute.append(abs(step - pixels[:, :, y, x]))
        expected += np.sqrt(squares)
        mean += np.mean(absolute)
    loss = TotalVariationLoss(0.5)(inputs=inputs)
    assert loss.item() == pytest.approx(0.5 * expected, rel=1e-6)
    loss = MeanTotalVariationLoss(0.5)(plain_inputs=inputs)
    assert loss.item() == pytest.approx(0.5 * mean, rel=1e-6)
    assert total_variation(torch.ones(2, 3, 4, 4)).item() == 0


@pytest.mark.parametrize('shape', [(1, 6), (6, 1), (1, 1)])
@pytest.mark.parametrize('kind', [TotalVariationLoss, MeanTotalVariationLoss])
def test_images_of_one_row_or_column(kind, shape):
    inputs = torch.randn(2, 3, *shape, requires_grad=True)
    loss = kind(0.5)(inputs)
    steps = inputs.detach().flatten(2).diff(dim=2)
    expected = 0.0
    if steps.numel() and kind is MeanTotalVariationLoss:
        expected = 0.5 * steps.abs().mean().item()
    elif steps.numel():
        expected = 0.5 * steps.norm().item()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, inputs)
    assert gradient.isfinite().all()
    assert gradient.any() == bool(expected)


def test_l2():
    inputs = torch.randn(3, 2, 4, 4)
    expected = np.sqrt((inputs.numpy().astype(np.float64) ** 2).sum())
    loss = L2PriorLoss(0.5)(inputs=inputs)
    assert loss.item() == pytest.approx(0.5 * expected, rel=1e-6)


def test_gradients_by_finite_differences():
    inputs = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(TotalVariationLoss(1.5), (inputs,))
    assert torch.autograd.gradcheck(L2PriorLoss(1.5), (inputs,))


@pytest.mark.parametrize('name', ['TotalVariationLoss', 'L2PriorLoss'])
def test_bad_weights(name):
    with pytest.raises(ValueError, match=f'loss_weight of {name} .* got -1'):
        build(dict(type=name, loss_weight=-1))

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""CMI's term against its formula, written out for one image at a time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import build

from csd_mmrazor.models.losses.contrastive_loss import contrastive_loss


def unit(*shape):
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize('remembered', [0, 4])
def test_equals_the_formula(remembered):
    views, others = unit(2, 3 + remembered, 6)
    tau = 0.2
    each = []
    for index, view in enumerate(views.numpy()):
        near = np.exp(others.numpy() @ view / tau)
        each.append(-np.log(near[index] / near.sum()))
    expected = np.mean(each[:3])
    if remembered:
        expected += np.mean(each[3:])
    loss = contrastive_loss(views, others, 3, tau)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_gradient_by_finite_differences():
    views, others = unit(2, 5, 4)
    assert torch.autograd.gradcheck(
        lambda a, b: contrastive_loss(a, b, 3, 0.5),
        (views.requires_grad_(), others.requires_grad_()),
    )


def test_head_and_gradients():
    loss = build(dict(type='ContrastiveLoss', loss_weight=0.5, embed_dim=7))
    loss.prepare([4, 2])
    shapes = [tuple(param.shape) for param in loss.parameters()]
    assert shapes == [(6, 6), (6,), (7, 6), (7,)]
    new, view = torch.randn(2, 3, 6)
    old, old_view = torch.randn(2, 5, 6)
    new.requires_grad_(), view.requires_grad_()
    value = loss(
        features_t=new,
        view_features_t=view,
        memory_features_t=old,
        memory_view_features_t=old_view,
    )
    embed = [F.normalize(loss.head(x), dim=1) for x in (new, view)]
    embed += [F.normalize(loss.head(x), dim=1) for x in (old, old_view)]
    expected = contrastive_loss(
        torch.cat(embed[1::2]), torch.cat(embed[::2]), 3, 0.1
    )
    assert value.item() == pytest.approx(0.5 * expected.item(), rel=1e-5)
    value.backward()
    # The view that is the goal is not moved.
    assert new.grad is None or not new.grad.any()
    assert view.grad.any() and loss.head[0].weight.grad.any()


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(tau=0), 'tau of ContrastiveLoss .* but got 0'),
        (dict(embed_dim=0), 'embed_dim .* positive integer, but got 0'),
        (dict(memory_size=-1), 'memory_size .* 0 or more, but got -1'),
        (dict(memory_capacity=9), 'memory_capacity .* 4096 or more, .* got 9'),
        (dict(loss_weight=-1), 'loss_weight of ContrastiveLoss'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(dict(type='ContrastiveLoss', **kwargs))

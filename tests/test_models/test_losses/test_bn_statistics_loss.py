# Copyright (c) csd_mmrazor developers. All rights reserved.
import numpy as np
import pytest
import torch
from helpers import build, network

from csd_mmrazor.models import BNStatisticsLoss, MovingBNStatisticsLoss
from csd_mmrazor.models.losses.bn_statistics_loss import (
    bn_statistics_loss,
    segment_norms,
)
from csd_mmrazor.models.utils import BNStatistics, bn_layers, fast_frozen_bn


def test_equals_numpy_on_a_hooked_network():
    model = build(network(channels=3)).eval()
    for layer in bn_layers(model):
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    seen = []
    handles = [
        layer.register_forward_hook(
            lambda layer, args, out: seen.append((args[0].clone(), layer))
        )
        for layer in bn_layers(model)
    ]
    inputs = torch.randn(16, 3, 8, 8)
    with fast_frozen_bn(model, with_statistics=True) as statistics:
        model(inputs, mode='tensor')
    for handle in handles:
        handle.remove()
    expected = 0
    for maps, layer in seen:
        maps = maps.detach().numpy().astype(np.float64)
        mean = maps.mean((0, 2, 3))
        var = maps.var((0, 2, 3))
        expected += np.linalg.norm(mean - layer.running_mean.numpy())
        expected += np.linalg.norm(var - layer.running_var.numpy())
    assert len(statistics) == len(seen) == len(bn_layers(model)) > 5
    loss = BNStatisticsLoss(2.0)(statistics)
    assert loss.item() == pytest.approx(2 * expected, rel=1e-5)


def test_gradient():
    maps = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    mean, var = torch.randn(3).double(), torch.rand(3).double()

    def loss(x):
        x = x.transpose(0, 1).flatten(1)
        statistics = BNStatistics(
            x.mean(1), x.var(1, unbiased=False), mean, var
        )
        return bn_statistics_loss([statistics])

    assert torch.autograd.gradcheck(loss, (maps,))


@pytest.mark.parametrize('widths', [(1,), (3, 5, 1, 3), (7,) * 4])
def test_norms_of_vectors_of_any_lengths(widths):
    values = torch.randn(sum(widths), dtype=torch.float64, requires_grad=True)
    norms = segment_norms(values, widths)
    expected = [np.linalg.norm(each) for each in values.detach().split(widths)]
    np.testing.assert_allclose(norms.detach(), expected, rtol=1e-14)
    assert torch.autograd.gradcheck(
        lambda values: segment_norms(values, widths), (values,)
    )


def test_a_layer_that_fits_exactly_has_no_gradient():
    values = torch.tensor([0.0, 0.0, 3.0, 4.0], requires_grad=True)
    norms = segment_norms(values, (2, 2))
    norms.sum().backward()
    assert norms.tolist() == [0, 5]
    assert values.grad.tolist() == pytest.approx([0, 0, 0.6, 0.8])


def test_equals_the_plain_sum_over_layers():
    """Value and gradient in float64, the layers' norms one by one."""
    given = statistics(3, 5, 1, 5)
    for layer in given:
        layer.mean.requires_grad_()
        layer.var.requires_grad_()
    leaves = [value for layer in given for value in layer[:2]]
    plain = sum(
        (layer.mean.double() - layer.running_mean).square().sum().sqrt()
        + (layer.var.double() - layer.running_var).square().sum().sqrt()
        for layer in given
    )
    expected = torch.autograd.grad(plain, leaves)
    loss = bn_statistics_loss(given)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    for grad, other in zip(torch.autograd.grad(loss, leaves), expected):
        torch.testing.assert_close(grad, other)


def statistics(*channels):
    return [
        BNStatistics(
            torch.randn(c), torch.rand(c), torch.randn(c), torch.rand(c)
        )
        for c in channels
    ]


def test_moving_average_over_rounds():
    """Three rounds of two steps against the recursion in float64."""
    loss = MovingBNStatisticsLoss(2.0, momentum=0.75)
    loss.prepare([3, 5])
    average = None
    for _ in range(3):
        for _ in range(2):
            layers = statistics(3, 5)
            now = [
                [getattr(x, name).double().numpy() for x in layers]
                for name in ('mean', 'var')
            ]
            mixed = (
                now
                if average is None
                else [
                    [0.25 * a + 0.75 * b for a, b in zip(*pair)]
                    for pair in zip(now, average)
                ]
            )
            expected = sum(
                np.linalg.norm(m - x.running_mean.numpy())
                + np.linalg.norm(v - x.running_var.numpy())
                for x, m, v in zip(layers, *mixed)
            )
            value = loss(bn_statistics=layers)
            assert value.item() == pytest.approx(2 * expected, rel=1e-5)
        # The average takes in the last step of a round.
        loss.end_round()
        average = mixed
    again = MovingBNStatisticsLoss(2.0, momentum=0.75)
    again.prepare([3, 5])
    again.load_state_dict(loss.state_dict())
    layers = statistics(3, 5)
    assert torch.equal(again(layers), loss(layers))


@pytest.mark.parametrize('momentum', [-0.1, 1, float('nan')])
def test_bad_momentum(momentum):
    with pytest.raises(ValueError, match='momentum of Moving.* but got'):
        build(dict(type='MovingBNStatisticsLoss', momentum=momentum))

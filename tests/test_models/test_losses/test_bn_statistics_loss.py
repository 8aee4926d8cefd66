# Copyright (c) csd_mmrazor developers. All rights reserved.
import numpy as np
import pytest
import torch
import torch.nn as nn
from conftest import build, network

from csd_mmrazor.models.losses.bn_statistics_loss import (
    BNStatistics,
    BNStatisticsLoss,
    batch_statistics,
    bn_layers,
    bn_statistics_loss,
    recorded_bn_statistics,
)


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
    with recorded_bn_statistics(model) as statistics:
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


def test_hooks_are_gone_after_the_context():
    model = build(network()).eval()

    def hooks():
        return sum(len(m._forward_pre_hooks) for m in model.modules())

    with recorded_bn_statistics(model):
        assert hooks() == len(bn_layers(model))
    assert hooks() == 0
    with pytest.raises(KeyError), recorded_bn_statistics(model):
        raise KeyError
    assert hooks() == 0


@pytest.mark.parametrize('shape', [(4, 3, 5, 5), (6, 3), (4, 3, 7)])
def test_statistics_of_any_shape(shape):
    maps = torch.randn(shape)
    mean, var = batch_statistics(maps)
    other = [i for i in range(maps.ndim) if i != 1]
    torch.testing.assert_close(mean, maps.mean(other))
    torch.testing.assert_close(var, maps.var(other, unbiased=False))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision_is_summed_in_float32(dtype):
    maps = torch.randn(64, 2, 16, 16).to(dtype) + 8
    mean, var = batch_statistics(maps)
    assert mean.dtype == var.dtype == torch.float32
    exact = maps.double()
    torch.testing.assert_close(mean.double(), exact.mean((0, 2, 3)))
    torch.testing.assert_close(
        var.double(), exact.var((0, 2, 3), unbiased=False)
    )


@pytest.mark.parametrize('offset', [0, 100])
def test_large_means_cost_no_precision(offset):
    maps = torch.randn(64, 2, 16, 16) + offset
    _, var = batch_statistics(maps)
    exact = maps.double().var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(var.double(), exact, rtol=1e-4, atol=0)


def test_gradient():
    maps = torch.randn(4, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    mean, var = torch.randn(3).double(), torch.rand(3).double()

    def loss(x):
        return bn_statistics_loss(
            [BNStatistics(*batch_statistics(x), mean, var)]
        )

    assert torch.autograd.gradcheck(loss, (maps,))


def test_only_layers_with_running_statistics():
    model = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.SyncBatchNorm(3),
        nn.GroupNorm(1, 3),
    )
    assert bn_layers(model) == [model[0], model[2]]

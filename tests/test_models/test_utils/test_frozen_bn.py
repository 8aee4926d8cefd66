# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn as nn
from conftest import build, network

from csd_mmrazor.models.utils import bn_layers, frozen, frozen_bn

KINDS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}


def layer_of(ndim, dtype=torch.float32, **kwargs):
    layer = KINDS[ndim](3, **kwargs).to(dtype).eval()
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2)
    if layer.affine:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return layer.requires_grad_(False)


@pytest.mark.parametrize('shape', [(16, 3), (8, 3, 5), (8, 3, 4, 4)])
@pytest.mark.parametrize('affine', [True, False])
@pytest.mark.parametrize('with_statistics', [True, False])
def test_equals_torchs_layer(shape, affine, with_statistics):
    layer, maps = layer_of(len(shape), affine=affine), torch.randn(shape)
    expected = layer(maps)
    with frozen_bn(layer, with_statistics) as statistics:
        torch.testing.assert_close(layer(maps), expected)
    assert len(statistics) == with_statistics
    for collected in statistics:
        others = [dim for dim in range(len(shape)) if dim != 1]
        torch.testing.assert_close(collected.mean, maps.mean(others))
        torch.testing.assert_close(
            collected.var, maps.var(others, unbiased=False)
        )
        assert collected.running_mean is layer.running_mean
        assert collected.running_var is layer.running_var


@pytest.mark.parametrize('shape', [(6, 3), (4, 3, 2, 2)])
@pytest.mark.parametrize('with_statistics', [True, False])
def test_gradient_by_finite_differences(shape, with_statistics):
    layer = layer_of(len(shape), torch.float64)
    maps = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def function(x):
        with frozen_bn(layer, with_statistics) as statistics:
            outputs = layer(x)
        return (outputs, *(s for c in statistics for s in (c.mean, c.var)))

    assert torch.autograd.gradcheck(function, (maps,))


def test_gradient_of_one_output_alone():
    layer = layer_of(4)
    for pick in (0, 1, 2):
        maps = torch.randn(4, 3, 2, 2, requires_grad=True)
        with frozen_bn(layer, True) as statistics:
            outputs = layer(maps)
        mean, var = statistics[0][:2]
        (outputs, mean, var)[pick].square().sum().backward()
        twin = maps.detach().clone().requires_grad_()
        expected = (
            layer(twin),
            twin.mean((0, 2, 3)),
            twin.var((0, 2, 3), unbiased=False),
        )[pick]
        expected.square().sum().backward()
        torch.testing.assert_close(maps.grad, twin.grad)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_low_precision_is_summed_in_float32(dtype):
    layer = layer_of(4)
    maps = (torch.randn(64, 3, 16, 16) + 8).to(dtype)
    with frozen_bn(layer, True) as statistics:
        outputs = layer(maps)
    assert outputs.dtype == dtype
    torch.testing.assert_close(outputs, layer(maps.float()).to(dtype))
    mean, var = statistics[0][:2]
    assert mean.dtype == var.dtype == torch.float32
    exact = maps.double()
    torch.testing.assert_close(
        mean.double(), exact.mean((0, 2, 3)), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        var.double(), exact.var((0, 2, 3), unbiased=False), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize('offset', [0, 100, 1e4])
def test_large_means_cost_no_precision(offset):
    """As long as the running mean is near, which is what counts."""
    layer = layer_of(4)
    layer.running_mean += offset
    maps = torch.randn(64, 3, 16, 16) + offset
    with frozen_bn(layer, True) as statistics:
        layer(maps)
    exact = maps.double().var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(
        statistics[0].var.double(), exact, rtol=1e-4, atol=0
    )


def test_layers_come_back():
    model = build(network()).eval()
    inputs = torch.randn(4, 1, 8, 8)
    expected = model(inputs, mode='tensor')
    with pytest.raises(KeyError), frozen_bn(model, True):
        assert all('forward' in vars(m) for m in bn_layers(model))
        raise KeyError
    assert not any('forward' in vars(m) for m in model.modules())
    assert torch.equal(model(inputs, mode='tensor'), expected)


def test_layers_in_train_mode_are_left_alone():
    model = nn.Sequential(layer_of(4).train(), layer_of(4))
    with frozen_bn(model, True) as statistics:
        model(torch.randn(4, 3, 2, 2))
    assert len(statistics) == 1


def test_whole_network():
    """Outputs and gradients of the inputs, all layers at once."""
    model = build(network(channels=3)).eval()
    for layer in bn_layers(model):
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    inputs = torch.randn(8, 3, 8, 8, requires_grad=True)
    with frozen(model):
        outputs = model(inputs, mode='tensor')
        (expected,) = torch.autograd.grad(outputs.square().sum(), inputs)
        with frozen_bn(model, True):
            other = model(inputs, mode='tensor')
            (grad,) = torch.autograd.grad(other.square().sum(), inputs)
    torch.testing.assert_close(outputs, other)
    torch.testing.assert_close(grad, expected)


def test_only_layers_with_running_statistics():
    model = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.SyncBatchNorm(3),
        nn.GroupNorm(1, 3),
    )
    assert bn_layers(model) == [model[0], model[2]]

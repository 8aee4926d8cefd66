# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import nullcontext
from copy import deepcopy
from functools import wraps

import pytest
import torch
import torch.nn as nn
from helpers import build, network
from timm.layers import BatchNormAct2d
from torch.nn.utils import parametrize, prune
from torchvision.ops.misc import FrozenBatchNorm2d

from csd_mmrazor.models.losses.bn_statistics_loss import bn_statistics_loss
from csd_mmrazor.models.utils import bn_layers, fast_frozen_bn, frozen

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
    with fast_frozen_bn(layer, with_statistics) as statistics:
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
        with fast_frozen_bn(layer, with_statistics) as statistics:
            outputs = layer(x)
        return (outputs, *(s for c in statistics for s in (c.mean, c.var)))

    assert torch.autograd.gradcheck(function, (maps,))


class Mixed(nn.Module):
    """Maps of several sizes, a layer that runs twice and one of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(5)
        self.own = nn.SyncBatchNorm(5)
        self.last = nn.BatchNorm1d(5)
        self.conv, self.pool = nn.Conv2d(3, 5, 3), nn.AvgPool2d(2)

    def forward(self, maps):
        maps = self.conv(self.first(maps)).relu()
        maps = self.pool(self.second(maps)).tanh()
        maps = self.own(self.second(maps))
        return self.last(maps.mean((2, 3)))


@pytest.mark.parametrize('layout', ['contiguous_format', 'channels_last'])
def test_a_network_to_double_precision(layout):
    """Outputs, statistics and gradients, of plain layers and hooks."""
    layout = getattr(torch, layout)
    model = Mixed().double().to(memory_format=layout)
    for layer in bn_layers(model):
        random_values(layer)
    model.eval().requires_grad_(False)
    seen, given = [], []

    def hook(layer, args):
        others = [dim for dim in range(args[0].ndim) if dim != 1]
        seen.append(
            (args[0].mean(others), args[0].var(others, unbiased=False))
        )

    inputs = torch.randn(4, 3, 8, 8).double().to(memory_format=layout)
    inputs.requires_grad_()
    handles = [m.register_forward_pre_hook(hook) for m in bn_layers(model)]
    expected = model(inputs)
    for handle in handles:
        handle.remove()
    with fast_frozen_bn(model, True) as statistics:
        output = model(inputs)
    given = [(each.mean, each.var) for each in statistics]
    assert len(given) == len(seen) == 5
    for found, other in ((given, seen), (output, expected)):
        torch.testing.assert_close(found, other, rtol=1e-12, atol=1e-12)
    weights = [torch.randn_like(pair[0]) for pair in seen]
    grads = [
        torch.autograd.grad(
            out.sin().sum()
            + sum((w * (m + v**2)).sum() for w, (m, v) in zip(weights, pairs)),
            inputs,
        )
        for out, pairs in ((output, given), (expected, seen))
    ]
    torch.testing.assert_close(*grads, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_maps_in_channels_last(dtype):
    layer = layer_of(4)
    maps = torch.randn(8, 3, 4, 4).to(dtype)
    maps = maps.to(memory_format=torch.channels_last).requires_grad_()
    for with_statistics in (False, True):
        plain = layer(maps)
        with fast_frozen_bn(layer, with_statistics):
            output = layer(maps)
        assert output.dtype == dtype
        assert output.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(output, plain)
        torch.testing.assert_close(
            *(torch.autograd.grad(o.sum(), maps) for o in (output, plain)),
        )


def test_gradient_of_one_output_alone():
    layer = layer_of(4)
    for pick in (0, 1, 2):
        maps = torch.randn(4, 3, 2, 2, requires_grad=True)
        with fast_frozen_bn(layer, True) as statistics:
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
    with fast_frozen_bn(layer, True) as statistics:
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
    with fast_frozen_bn(layer, True) as statistics:
        layer(maps)
    exact = maps.double().var((0, 2, 3), unbiased=False)
    torch.testing.assert_close(
        statistics[0].var.double(), exact, rtol=1e-4, atol=0
    )


def test_layers_come_back():
    model = build(network()).eval()
    inputs = torch.randn(4, 1, 8, 8)
    expected = model(inputs, mode='tensor')
    with pytest.raises(KeyError), fast_frozen_bn(model, True):
        assert all('forward' in vars(m) for m in bn_layers(model))
        raise KeyError
    assert not any('forward' in vars(m) for m in model.modules())
    assert torch.equal(model(inputs, mode='tensor'), expected)


def test_layers_in_train_mode_are_left_alone():
    model = nn.Sequential(layer_of(4).train(), layer_of(4))
    with fast_frozen_bn(model, True) as statistics:
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
        with fast_frozen_bn(model, True):
            other = model(inputs, mode='tensor')
            (grad,) = torch.autograd.grad(other.square().sum(), inputs)
    torch.testing.assert_close(outputs, other)
    torch.testing.assert_close(grad, expected)


class OfItsOwn(nn.BatchNorm2d):
    """A subclass with another forward."""

    def forward(self, input):
        return super().forward(input).relu()


class ChannelsLast(nn.BatchNorm1d):
    """A subclass that takes (N, L, C)."""

    def forward(self, input):
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class Frozen(nn.Module):
    """As in detectron: no BN layer by its class."""

    def __init__(self, channels):
        super().__init__()
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            self.register_buffer(name, torch.ones(channels))

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def changed(change, kind=nn.BatchNorm2d):
    layer = kind(3)
    change(layer)
    return layer


def overridden(layer):
    layer.forward = lambda input: type(layer).forward(layer, input) + 1


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


# Layers that are not exactly torch's, or not any more.
OTHERS = {
    'subclass': lambda: OfItsOwn(3),
    'SyncBN': lambda: nn.SyncBatchNorm(3),
    'torchvision frozen': lambda: FrozenBatchNorm2d(3),
    'detectron frozen': lambda: Frozen(3),
    'own forward': lambda: changed(overridden),
    'hook': lambda: changed(
        lambda m: m.register_forward_hook(lambda m, args, out: out.relu())
    ),
    'pre-hook': lambda: changed(
        lambda m: m.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    ),
    'backward hook': lambda: changed(
        lambda m: m.register_full_backward_hook(
            lambda m, grads, _: (2 * grads[0],)
        )
    ),
    'backward pre-hook': lambda: changed(
        lambda m: m.register_full_backward_pre_hook(
            lambda m, grads: (2 * grads[0],)
        )
    ),
    'parametrised': lambda: changed(
        lambda m: parametrize.register_parametrization(m, 'weight', Doubled())
    ),
    'parametrised statistics': lambda: changed(
        lambda m: parametrize.register_parametrization(
            m, 'running_var', Doubled()
        )
    ),
    'pruned': lambda: changed(
        lambda m: prune.random_unstructured(m, 'weight', 0.5)
    ),
    'activation': lambda: BatchNormAct2d(3),
}
# Layers that are torch's own in an unusual state.
USUAL = {
    'no momentum': lambda: nn.BatchNorm2d(3, momentum=None),
    'not affine': lambda: nn.BatchNorm2d(3, affine=False),
    'no bias': lambda: changed(lambda m: m.register_parameter('bias', None)),
    'tracking turned off': lambda: changed(
        lambda m: setattr(m, 'track_running_stats', False)
    ),
    'once lazy': lambda: changed(
        lambda m: m(torch.zeros(2, 3, 4, 4)), lambda _: nn.LazyBatchNorm2d()
    ),
}


def random_values(layer):
    """Values that are not neutral, in every tensor of a layer."""
    with torch.no_grad():
        for name, values in [
            *layer.named_parameters(),
            *layer.named_buffers(),
        ]:
            if values.is_floating_point() and 'mask' not in name:
                values.uniform_(0.5, 2)
    return layer.eval().requires_grad_(False)


def passed(layer, maps, context):
    """Output, statistics and gradient of one pass in a context."""
    maps = maps.clone().requires_grad_()
    with context as statistics:
        output = layer(maps)
    (grad,) = torch.autograd.grad(
        output.square().sum()
        + sum((s.mean**3 + s.var**3).sum() for s in statistics or ()),
        maps,
    )
    return output, grad, statistics


@pytest.mark.parametrize('kind', [*OTHERS, *USUAL])
def test_every_layer_keeps_its_function(kind):
    layer = random_values({**OTHERS, **USUAL}[kind]())
    maps = torch.randn(8, 3, 4, 4)
    before = vars(layer).get('forward'), [*layer._forward_pre_hooks]
    plain = passed(layer, maps, nullcontext())
    with fast_frozen_bn(layer):
        replaced = vars(layer).get('forward') is not before[0]
    without = passed(layer, maps, fast_frozen_bn(layer))
    assert replaced == (kind in USUAL)
    assert not without[2]
    for value, other in zip(without[:2], plain[:2]):
        torch.testing.assert_close(value, other)

    output, _, statistics = passed(layer, maps, fast_frozen_bn(layer, True))
    torch.testing.assert_close(output, plain[0])
    # What the layer itself is given.
    given = maps + 1 if kind == 'pre-hook' else maps
    (found,) = statistics
    torch.testing.assert_close(found.mean, given.mean((0, 2, 3)))
    torch.testing.assert_close(found.var, given.var((0, 2, 3), unbiased=False))
    torch.testing.assert_close(found.running_mean, layer.running_mean)
    torch.testing.assert_close(found.running_var, layer.running_var)
    assert before == (
        vars(layer).get('forward'),
        [*layer._forward_pre_hooks],
    )


def none_tracked(layer):
    layer.running_mean = layer.running_var = None


@pytest.mark.parametrize(
    'layer',
    [
        nn.BatchNorm2d(3, track_running_stats=False),
        changed(none_tracked),
        nn.InstanceNorm2d(3, track_running_stats=True),
        nn.GroupNorm(1, 3),
        nn.LazyBatchNorm2d(),
        torch.jit.script(nn.BatchNorm2d(3)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_without_statistics_run_as_they_are(layer):
    layer.eval()
    maps = torch.randn(8, 3, 4, 4)
    assert bn_layers(layer) == []
    with fast_frozen_bn(layer, True) as statistics:
        output = layer(maps)
    assert not statistics
    assert torch.equal(output, layer(maps))


class Exchanging(nn.Module):
    """A network that gives its BN layer other values in each pass."""

    def __init__(self, exchange):
        super().__init__()
        self.bn, self.exchange = nn.BatchNorm2d(3), exchange
        for name in ('means', 'variances', 'gains'):
            self.register_buffer(name, torch.rand(2, 3) + 0.5)

    def forward(self, maps):
        outputs = [self.exchange(self, maps, index) for index in (0, 1)]
        return outputs[0] + 2 * outputs[1]


def by_call(net, maps, index):
    # Of the maps, too, so that it has a gradient.
    gain = net.gains[index] * maps.mean((0, 2, 3))
    return torch.func.functional_call(net.bn, dict(weight=gain), maps)


def by_domain(net, maps, index):
    net.bn.running_mean = net.means[index]
    net.bn.running_var = net.variances[index]
    return net.bn(maps)


def by_copy(net, maps, index):
    if index == 0:  # what is kept for the gradient may not change
        net.bn.running_mean.copy_(net.means[0])
    return net.bn(maps)


def by_data(net, maps, index):
    net.bn.bias.data = net.gains[index]
    return net.bn(maps)


def by_eps(net, maps, index):
    net.bn.eps = 0.5 + index
    return net.bn(maps)


def by_none(net, maps, index):
    # That of the maps, in the second pass.
    net.bn.running_mean = net.means[0] if index == 0 else None
    net.bn.running_var = net.variances[0] if index == 0 else None
    return net.bn(maps)


def by_mode(net, maps, index):
    return net.bn.train()(maps)


EXCHANGES = by_call, by_domain, by_copy, by_data, by_eps, by_none, by_mode


@pytest.mark.parametrize('with_statistics', [False, True])
@pytest.mark.parametrize('exchange', EXCHANGES, ids=lambda f: f.__name__)
def test_what_a_network_exchanges_counts(exchange, with_statistics):
    net = random_values(Exchanging(exchange))
    maps, twin = torch.randn(8, 3, 4, 4), deepcopy(net)
    expected = passed(net, maps, nullcontext())
    context = fast_frozen_bn(twin, with_statistics)
    output, grad, statistics = passed(twin, maps, context)
    torch.testing.assert_close(output, expected[0])
    if not with_statistics:
        torch.testing.assert_close(grad, expected[1])
        return
    assert len(statistics) == 2 - (exchange is by_none)
    for index, found in enumerate(statistics):
        torch.testing.assert_close(found.mean, maps.mean((0, 2, 3)))
        if exchange in (by_domain, by_copy):
            mean = net.means[index * (exchange is by_domain)]
            assert torch.equal(found.running_mean, mean)
        if exchange is by_domain:
            assert torch.equal(found.running_var, net.variances[index])


def test_what_a_compiled_network_exchanges_counts():
    net = random_values(Exchanging(by_call))
    maps = torch.randn(8, 3, 4, 4)
    expected = net(maps)
    with fast_frozen_bn(net, True) as statistics:
        compiled = torch.compile(net, backend='eager', fullgraph=True)
        torch.testing.assert_close(compiled(maps), expected)
    assert len(statistics) == 2


def test_a_layer_of_unregistered_tensors_is_left_alone():
    layer = layer_of(4)
    del layer.weight
    layer.weight = torch.rand(3)
    with fast_frozen_bn(layer):
        assert 'forward' not in vars(layer)


def test_a_class_of_torchs_that_others_changed(monkeypatch):
    layer, forward = layer_of(4), nn.BatchNorm2d.forward
    maps = torch.randn(8, 3, 4, 4)
    expected = 2 * layer(maps)
    monkeypatch.setattr(
        nn.BatchNorm2d,
        'forward',
        wraps(forward)(lambda self, input: 2 * forward(self, input)),
    )
    with fast_frozen_bn(layer):
        assert torch.equal(layer(maps), expected)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('with_statistics', [False, True])
def test_gradient_of_a_gradient(with_statistics, dtype):
    """As for a loss that punishes large ones."""
    layer = layer_of(4)

    def penalty(context):
        maps = torch.linspace(-1, 1, 384).view(8, 3, 4, 4).to(dtype)
        maps.requires_grad_()
        with context:
            output = layer(maps).square().sum()
        (grad,) = torch.autograd.grad(output, maps, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), maps)[0]

    torch.testing.assert_close(
        penalty(fast_frozen_bn(layer, with_statistics)),
        penalty(nullcontext()),
        rtol=1e-4 if dtype == torch.float32 else 0.05,
        atol=1e-4,
    )


def test_maps_by_name_and_with_channels_last():
    layer, maps = layer_of(4), torch.randn(8, 3, 4, 4)
    with fast_frozen_bn(layer, True) as statistics:
        torch.testing.assert_close(layer(input=maps), layer(maps))
    frozen_layer = random_values(Frozen(3))
    with fast_frozen_bn(frozen_layer, True) as statistics:
        frozen_layer(x=maps)
    torch.testing.assert_close(statistics[0].mean, maps.mean((0, 2, 3)))

    layer, tokens = random_values(ChannelsLast(3)), torch.randn(8, 5, 3)
    with fast_frozen_bn(layer, True) as statistics:
        layer(tokens)
    torch.testing.assert_close(statistics[0].mean, tokens.mean((0, 1)))
    torch.testing.assert_close(
        statistics[0].var, tokens.var((0, 1), unbiased=False)
    )


class Watching(OfItsOwn):
    """Counts its passes, and takes maps of one size alone."""

    passes = 0

    def forward(self, input):
        self.passes += 1
        assert input.shape[-1] == 3
        return super().forward(input)


class Broadcast(Frozen):
    """Maps of (N, H, W, C)."""

    def forward(self, x):
        return (x - self.running_mean) * self.running_var.rsqrt()


@pytest.mark.parametrize(
    'kind, shape, is_last',
    [
        (ChannelsLast, (8, 3, 3), True),
        (Broadcast, (8, 3, 4, 3), True),
        (Broadcast, (8, 3, 3, 3), True),
        (OfItsOwn, (8, 3, 3, 3), False),
        (BatchNormAct2d, (8, 3, 4, 3), False),
        (nn.SyncBatchNorm, (8, 3, 3), False),
        (Frozen, (8, 3, 3, 3), False),
        (Watching, (8, 3, 3, 3), False),
    ],
)
def test_as_many_places_as_channels(kind, shape, is_last):
    layer, maps = random_values(kind(3)), torch.randn(shape)
    with fast_frozen_bn(layer, True) as statistics:
        for _ in range(3):
            layer(maps)
    channels = len(shape) - 1 if is_last else 1
    others = [dim for dim in range(len(shape)) if dim != channels]
    torch.testing.assert_close(statistics[2].mean, maps.mean(others))
    # It is tried once.
    assert getattr(layer, 'passes', 3) <= 5


@pytest.mark.parametrize('maps', [torch.zeros(2, 5, 4), torch.zeros(3), 'x'])
def test_what_has_no_channels_is_told(maps):
    layer = OfItsOwn(3).eval()
    with pytest.raises(ValueError, match='OfItsOwn.*of 3 channels.*given'):
        with fast_frozen_bn(layer, True):
            layer(maps)
    assert not layer._forward_pre_hooks


def test_a_layer_that_runs_twice_gives_both():
    layer = layer_of(4)
    maps = torch.randn(8, 3, 4, 4)
    for each in (layer, random_values(OfItsOwn(3))):
        with fast_frozen_bn(each, True) as statistics:
            after = each(maps)
            each(after)
        torch.testing.assert_close(statistics[0].mean, maps.mean((0, 2, 3)))
        torch.testing.assert_close(statistics[1].mean, after.mean((0, 2, 3)))


class Experts(nn.Module):
    """Each has the images of its own; the last one has none."""

    def __init__(self, kind):
        super().__init__()
        self.experts = nn.ModuleList(kind(3) for _ in range(3))

    def forward(self, maps):
        parts = maps[:1, :, :1, :1], maps[1:], maps[:0]
        found = [e(part) for e, part in zip(self.experts, parts)]
        return found[0].sum() + found[1].sum() + found[2].sum()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('compiled', [False, True])
@pytest.mark.parametrize('kind', [nn.BatchNorm2d, OfItsOwn])
def test_a_layer_that_gets_no_image(kind, compiled, dtype):
    """As one of a mixture of experts may: it adds nothing to the loss."""
    model = random_values(Experts(kind))
    maps = torch.randn(8, 3, 4, 4).to(dtype).requires_grad_()
    expected = model(maps)
    for with_statistics in (False, True):
        with fast_frozen_bn(model, with_statistics) as statistics:
            run = model
            if compiled and with_statistics:
                run = torch.compile(model, backend='eager', fullgraph=True)
            torch.testing.assert_close(run(maps), expected)
    one, many, none = statistics
    torch.testing.assert_close(one.mean, maps[0, :, 0, 0].float())
    torch.testing.assert_close(one.var, torch.zeros(3), rtol=0, atol=1e-5)
    others = (0, 2, 3)
    torch.testing.assert_close(many.mean, maps[1:].float().mean(others))
    assert torch.equal(none.mean, none.running_mean)
    assert torch.equal(none.var, none.running_var)
    loss = bn_statistics_loss(statistics)
    torch.testing.assert_close(loss, bn_statistics_loss([one, many]))
    (grad,) = torch.autograd.grad(loss, maps)
    assert grad.isfinite().all() and grad.any()


def test_one_network_in_two_roles():
    layer, maps = layer_of(4), torch.randn(8, 3, 4, 4)
    expected = layer(maps)
    with fast_frozen_bn(layer), fast_frozen_bn(layer, True) as statistics:
        torch.testing.assert_close(layer(maps), expected)
    assert len(statistics) == 1
    assert 'forward' not in vars(layer) and not layer._forward_pre_hooks


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_a_network_of_halves_is_computed_in_float32(dtype):
    layer = layer_of(4, dtype)
    exact = nn.BatchNorm2d(3).eval().requires_grad_(False)
    exact.load_state_dict(layer.state_dict())
    maps = torch.randn(8, 3, 4, 4).to(dtype)
    with fast_frozen_bn(layer, True) as statistics:
        output = layer(maps)
    torch.testing.assert_close(output, exact(maps.float()).to(dtype))
    assert {values.dtype for values in statistics[0]} == {torch.float32}


def test_a_global_hook_is_respected():
    layer = layer_of(4)
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, args, output: None
    )
    with handle, fast_frozen_bn(layer):
        assert 'forward' not in vars(layer)


def test_only_layers_with_running_statistics():
    model = nn.Sequential(
        nn.BatchNorm2d(3),
        nn.BatchNorm2d(3, track_running_stats=False),
        nn.SyncBatchNorm(3),
        nn.GroupNorm(1, 3),
    )
    assert bn_layers(model) == [model[0], model[2]]

# Copyright (c) csd_mmrazor developers. All rights reserved.
import copy

import pytest
import torch
import torch.nn as nn
from helpers import build, network

from csd_mmrazor.export import distil_rounded
from csd_mmrazor.export.rounding import Rounded, computed_once, rounded


@pytest.mark.parametrize('bits', [2, 4, 8])
@pytest.mark.parametrize('shape', [(5, 7), (4, 3, 3, 3), (2, 1, 3, 3, 3)])
def test_rounded_weights_are_whole_numbers_of_steps(bits, shape):
    weight = torch.randn(shape, dtype=torch.float32)
    weight[1] = 0  # a channel that does nothing
    found = Rounded(bits)(weight)
    for channel, given in zip(found, weight):
        # 2 ** bits - 1 steps from minus to plus the largest; of 8 bits, -64
        # to 64 are used.
        steps = 128 if bits == 8 else 2**bits - 1
        step = 2 * given.abs().max().double() / steps
        if not step:
            assert not channel.any()
            continue
        whole = channel.double() / step
        torch.testing.assert_close(whole, whole.round(), rtol=0, atol=1e-4)
        lowest = -64 if bits == 8 else -(2 ** (bits - 1))
        assert whole.round().min() >= lowest
        assert whole.round().max() <= (64 if bits == 8 else -lowest - 1)
        # The nearest: the largest weight may be half a step above the last.
        error = (channel.double() - given.double()).abs() / step
        assert error.max() <= 0.5 + 1e-4


def test_gradients_pass_as_if_nothing_was_rounded():
    weight = torch.randn(3, 4, requires_grad=True)
    factors = torch.randn(3, 4)
    (Rounded(4)(weight) * factors).sum().backward()
    assert torch.equal(weight.grad, factors)


def test_own_weights_come_back():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))
    before = copy.deepcopy(net.state_dict())
    with rounded(net, 4) as names:
        assert names == ['0.weight', '2.weight']
        assert not torch.equal(net[0].weight, before['0.weight'])
    assert net.state_dict().keys() == before.keys()
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def test_another_axis_may_have_the_output_channels():
    weight = torch.randn(3, 5, 2, 2)
    found = Rounded(4, axis=1)(weight)
    expected = Rounded(4)(weight.transpose(0, 1)).transpose(0, 1)
    assert torch.equal(found, expected)


def gap(net, reference, inputs, bits):
    """KL(reference || net) with rounded weights."""
    with torch.no_grad(), rounded(net, bits):
        expected, found = (
            m(inputs, mode='tensor').double().log_softmax(1)
            for m in (reference, net)
        )
    return (expected.exp() * (expected - found)).sum(1).mean().item()


def test_distillation_makes_rounding_cost_less():
    model = build(network(base_channels=8)).eval()
    model.init_weights()
    with torch.no_grad():
        model.head.fc.weight.mul_(100)  # decisions that rounding changes
    before = copy.deepcopy(model.state_dict())
    inputs = torch.randn(64, 1, 8, 8)
    found, *gaps = distil_rounded(model, lambda: inputs, 30, 2, lr=3e-3)
    reference = copy.deepcopy(model)
    expected = [gap(m, reference, inputs, 2) for m in (model, found)]
    assert gaps == pytest.approx(expected, rel=1e-4)
    assert expected[1] < 0.5 * expected[0]
    others = torch.randn(200, 1, 8, 8)  # which no step is of
    _, *gaps = distil_rounded(model, lambda: inputs, 2, 2, probe=others)
    assert gaps[0] == pytest.approx(gap(model, reference, others, 2), rel=1e-4)
    assert not found.training
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    for key, value in found.state_dict().items():
        # Statistics are not estimated from synthetic images.
        if 'running' in key:
            assert torch.equal(value, before[key])


def test_a_step_is_relative_to_the_weights_of_a_channel():
    """Else tiny weights before a BN layer that enlarges them would jump."""
    model = build(network()).eval()
    model.init_weights()
    scales = torch.logspace(-4, 1, 4).view(-1, 1, 1, 1)
    with torch.no_grad():
        model.backbone.conv1.weight.mul_(scales)
        model.head.fc.weight.mul_(100)
    inputs = torch.randn(64, 1, 8, 8)
    found = distil_rounded(model, lambda: inputs, 1, 2, lr=0.01).model
    own, moved = (m.backbone.conv1.weight.detach() for m in (model, found))
    shares = (moved - own).abs().flatten(1) / own.abs().flatten(1).amax(
        1, keepdim=True
    )
    # Adam's first step is its learning rate, whatever the gradient.
    assert shares.max() == pytest.approx(0.01, rel=1e-2)
    assert (shares.amax(1) > 0.009).all()
    bias = (found.head.fc.bias - model.head.fc.bias).detach().abs()
    assert bias.max() == pytest.approx(0.01, rel=1e-2)


def test_training_that_makes_it_worse_is_told():
    model = build(network()).eval()
    inputs = torch.randn(8, 1, 8, 8)
    found = distil_rounded(model, lambda: inputs, 2, 8, lr=1.0)
    assert found.after > found.before


def test_a_loss_that_diverges_is_told():
    model = build(network()).eval()
    inputs = torch.full((2, 1, 8, 8), float('nan'))
    with pytest.raises(ValueError, match='step 0 .*take int8'):
        distil_rounded(model, lambda: inputs, 2, 4)


class Bare(nn.Module):
    """A weight of no layer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 64))

    def forward(self, inputs, mode='tensor'):
        return nn.functional.linear(inputs.flatten(1), self.weight)


def test_a_network_of_which_nothing_is_rounded_is_refused():
    with pytest.raises(ValueError, match='none of these. .*--distil-steps 0'):
        distil_rounded(Bare(), lambda: torch.randn(2, 1, 8, 8), 2, 4)


class OfOthers(nn.Module):
    """Weights that follow from others, are shared, or are integers."""

    def __init__(self, compute):
        super().__init__()
        self.conv = compute(nn.Conv2d(1, 4, 3))
        self.same = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, 3)
        self.other = nn.Linear(4, 4)
        self.twin = nn.Linear(4, 4)
        self.twin.weight = self.other.weight
        self.order = nn.Parameter(torch.tensor([2, 0, 1]), False)

    def forward(self, inputs, mode='tensor'):
        found = (self.conv(inputs) + self.same(inputs)).mean((2, 3))
        return 9 * self.fc(self.twin(self.other(found)))[:, self.order]


@pytest.mark.parametrize(
    'compute',
    [
        nn.Identity(),
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        lambda layer: nn.utils.prune.l1_unstructured(layer, 'weight', 0.3),
    ],
)
@pytest.mark.filterwarnings('ignore:.*weight_norm')
def test_weights_that_follow_from_others(compute):
    model, inputs = OfOthers(compute).eval(), torch.randn(64, 1, 8, 8)
    with torch.no_grad():
        expected = model(inputs)
    before = copy.deepcopy(model.state_dict())
    plain = computed_once(copy.deepcopy(model))
    with torch.no_grad():
        torch.testing.assert_close(plain(inputs), expected)
    layers = 'conv', 'same', 'fc', 'other', 'twin'
    with rounded(plain, 4) as names:
        assert names == [f'{layer}.weight' for layer in layers]
    found = distil_rounded(model, lambda: inputs, 30, 2)
    assert found.after < found.before
    assert found.model.twin.weight is found.model.other.weight
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])


def test_weights_that_two_layers_share_move_once():
    model, inputs = OfOthers(nn.Identity()).eval(), torch.randn(64, 1, 8, 8)
    found = distil_rounded(model, lambda: inputs, 1, 2, lr=0.01).model
    moved = (found.twin.weight - model.twin.weight).detach().abs()
    shares = moved.amax(1) / model.twin.weight.detach().abs().amax(1)
    # Adam's first step is its learning rate, whatever the gradient.
    assert shares.min() == pytest.approx(0.01, rel=1e-2)


class Attending(nn.Module):
    """Attention of both kinds, and transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ConvTranspose2d(1, 8, 2, stride=2)
        self.one = nn.MultiheadAttention(8, 2, batch_first=True)
        self.other = nn.MultiheadAttention(8, 2, kdim=6, batch_first=True)
        self.keys = nn.Linear(8, 6)
        self.fc = nn.Linear(8, 3)

    def forward(self, inputs, mode='tensor'):
        tokens = self.maps(inputs).flatten(2).mT
        tokens = self.one(tokens, tokens, tokens)[0]
        tokens = self.other(tokens, self.keys(tokens), tokens)[0]
        return 9 * self.fc(tokens.amax(1))


def test_all_weights_of_attention_are_rounded():
    model, inputs = Attending().eval(), torch.randn(8, 1, 4, 4)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        expected = model(inputs)
        with rounded(model, 4) as names:
            assert {*names} == {k for k, v in before.items() if v.ndim > 1}
            assert not torch.equal(model(inputs), expected)
        assert torch.equal(model(inputs), expected)
    found = distil_rounded(model, lambda: inputs, 1, 2, lr=0.01).model
    moved = (found.maps.weight - model.maps.weight).detach().abs()
    spans = model.maps.weight.detach().abs().amax((0, 2, 3))
    shares = moved.amax((0, 2, 3)) / spans
    # Adam's first step is its learning rate, whatever the gradient.
    assert shares.max() == pytest.approx(0.01, rel=1e-2)
    assert {*found.state_dict()} == {*before}

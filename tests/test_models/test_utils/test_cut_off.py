# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Networks whose weights count, but are out of reach of the gradient."""

import sys

import pytest
import torch
import torch.nn as nn

from csd_mmrazor.models.utils import (
    check_not_cut_off,
    check_trains_what_decides,
    cut_off,
)


class Net(nn.Module):
    """Two layers, and what another forward makes of them."""

    def __init__(self, forward):
        super().__init__()
        self.way = forward
        self.body, self.mid, self.fc = (nn.Linear(3, 3) for _ in range(3))
        self.aux = nn.Linear(3, 3)

    def forward(self, x):
        return self.way(self, x)


BODY = ['body.weight', 'body.bias']
AUX = ['aux.weight', 'aux.bias']


def gated(net, x):
    """By a choice between two, of which each has its turn."""
    first = net.aux(x)[:, :1] > net.aux(x)[:, 2:]
    return net.fc(net.mid(net.body(x)).where(first, net.mid(x)))


def skips(net, x):
    """Stochastic depth, which leaves out all layers in this step."""
    return net.fc(x if net.training else net.mid(net.body(x)))


def only_when_training(net, x):
    with torch.set_grad_enabled(net.training):
        return net.fc(net.mid(net.body(x)))


@pytest.mark.parametrize(
    'forward, lost',
    [
        (lambda n, x: n.fc(n.mid(n.body(x))), []),
        (lambda n, x: (n.fc(n.mid(n.body(x))), n.aux(x))[0], []),
        (lambda n, x: n.fc(n.mid(torch.no_grad()(n.body)(x))), BODY),
        (lambda n, x: n.fc(n.mid(n.body(x).data)), BODY),
        (lambda n, x: n.fc(n.mid((n.body(x) * 9).round())), BODY),
        (lambda n, x: n.fc(n.mid(n.body(x))).softmax(1), []),
        (
            lambda n, x: n.fc(n.mid(torch.tensor(n.body(x).detach().numpy()))),
            BODY,
        ),
        (lambda n, x: n.fc(n.mid(x) + n.body(x).detach()), BODY),
        (skips, []),
        (gated, AUX),
        (only_when_training, []),
    ],
)
def test_what_gets_no_gradient(forward, lost):
    net = Net(forward)
    x = torch.randn(2, 3)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.get_rng_state()
    found = cut_off(net, lambda: net(x), net(x).sum())
    assert found == lost
    assert all(map(torch.equal, before.values(), net.state_dict().values()))
    assert torch.equal(state, torch.get_rng_state())
    assert net.training
    assert all(p.grad is None for p in net.parameters())
    for part in (net.body, net.aux):
        part.requires_grad_(False)
    assert cut_off(net, lambda: net(x), net(x).sum()) == []


def test_when_it_is_an_error(caplog):
    x = torch.randn(2, 3)
    some = Net(lambda n, x: n.fc(n.mid(n.body(x).detach())))
    check_not_cut_off('student', some, lambda: some(x))
    most = Net(lambda n, x: n.fc(n.mid(n.body(x)).detach()))
    most.aux.requires_grad_(False)
    with pytest.raises(ValueError, match=r'^student \(Net\) .* body.weight'):
        check_not_cut_off('student', most, lambda: most(x))


class Heads(nn.Module):
    """Two heads and a block that may be skipped, put together as told."""

    def __init__(self, in_training, in_eval):
        super().__init__()
        self.body, self.block = nn.Linear(4, 6), nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.fc, self.aux = nn.Linear(6, 3), nn.Linear(6, 3)
        self.in_training, self.in_eval = in_training, in_eval

    def forward(self, inputs, mode='tensor'):
        hidden = self.norm(self.body(inputs)).relu()
        parts = dict(
            main=self.fc(hidden),
            deep=self.fc(self.block(hidden).relu()),
            aux=self.aux(hidden),
            functional=hidden @ self.fc.weight.t(),
        )
        return (self.in_training if self.training else self.in_eval)(parts)


@pytest.mark.parametrize(
    'in_training, in_eval, lost',
    [
        (lambda p: p['main'], lambda p: p['main'], ''),
        (lambda p: (p['main'], p['aux']), lambda p: p['main'], ''),
        (lambda p: (p['aux'], p['main']), lambda p: p['main'], 'fc.weight'),
        (
            lambda p: dict(aux=p['aux'], logits=p['main']),
            lambda p: p['main'],
            '',
        ),
        (lambda p: p['aux'], lambda p: p['main'] / 2, 'fc.weight, fc.bias'),
        (lambda p: p['aux'], lambda p: p['functional'], 'fc.weight in'),
        # Parts that are left out by chance are others.
        (lambda p: p['main'], lambda p: p['deep'], ''),
        (lambda p: p['main'] + p['aux'], lambda p: p['main'], ''),
        (lambda p: p['aux'], lambda p: (p['aux'] + p['main']) / 2, ''),
    ],
)
def test_the_same_head_in_training(in_training, in_eval, lost):
    torch.manual_seed(0)
    net, inputs = Heads(in_training, in_eval), torch.randn(4, 4)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    if lost:
        with pytest.raises(ValueError, match=f'^student makes .* by {lost}'):
            check_trains_what_decides(net, inputs)
    else:
        check_trains_what_decides(net, inputs)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training and net.fc.weight.grad is None
    # What is frozen has no gradient in any mode.
    check_trains_what_decides(net.requires_grad_(False), inputs)


@pytest.mark.parametrize('change', [torch.sigmoid, nn.Softmax(1)])
def test_outputs_that_are_no_logits_in_training_alone(change):
    net = Heads(lambda p: change(p['main']), lambda p: p['main'])
    with pytest.raises(ValueError, match='^student in train mode returns '):
        check_trains_what_decides(net, torch.randn(4, 4))


@pytest.mark.parametrize('both', [True, False])
def test_half_of_the_logits_that_is_not_trained(both, monkeypatch):
    """As of the distilled DeiT, whose heads are averaged in eval mode."""
    told = []
    monkeypatch.setattr(
        sys.modules['csd_mmrazor.models.utils.cut_off'],
        'print_log',
        lambda text, **kwargs: told.append(text),
    )
    mean = lambda p: (p['aux'] + p['main']) / 2  # noqa: E731
    net = Heads(mean if both else lambda p: (p['aux'], p['main']), mean)
    check_trains_what_decides(net, torch.randn(4, 4))
    assert len(told) == (not both)
    assert all('by fc.weight, fc.bias, too, in eval' in text for text in told)


def test_a_frozen_head_tells_nothing_of_the_layers_before_it():
    """Which may be left out by chance."""
    net = Heads(lambda p: p['main'], lambda p: p['deep'])
    net.fc.requires_grad_(False)
    check_trains_what_decides(net, torch.randn(4, 4))

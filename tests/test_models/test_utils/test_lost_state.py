# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy

import pytest
import torch
import torch.nn as nn

from csd_mmrazor.models.utils import (
    about_lost,
    changed_attributes,
    check_kept_state,
    plain_attributes,
)


class Centred(nn.Module):
    """Takes off the mean of what it has seen in training."""

    def __init__(self, persistent, kind):
        super().__init__()
        self.fc, self.kind = nn.Linear(16, 3), kind
        mean = torch.zeros(0 if kind == 'made once' else 3)
        self.register_buffer('mean', mean, persistent)

    def forward(self, inputs, mode='tensor'):
        logits = self.fc(inputs.flatten(1))
        if self.kind == 'made once':
            if not self.mean.numel():
                self.mean = torch.ones(3)
        elif self.kind == 'used once':
            self.mean = None
            return logits
        elif self.training or self.kind == 'made anew':
            self.mean = logits.detach().mean(0)
        return logits if self.kind == 'unused' else logits - self.mean


@pytest.mark.parametrize(
    'persistent, kind, is_lost',
    [
        (False, 'kept', True),
        (True, 'kept', False),
        (False, 'made anew', False),
        (False, 'made once', False),
        (False, 'used once', False),
        (False, 'unused', False),
    ],
)
def test_what_checkpoints_would_not_have(persistent, kind, is_lost):
    torch.manual_seed(0)
    net = nn.Module()
    net.inner = Centred(persistent, kind)
    net.forward = net.inner.forward
    net.eval()
    before = net.inner.mean
    images = torch.zeros(4, 1, 4, 4)
    if is_lost:
        with pytest.raises(ValueError, match='student .* in inner.mean, sin'):
            check_kept_state(net, images)
    else:
        check_kept_state(net, images)
    assert net.inner.mean is before and not net.inner.mean.any()
    assert not net.training and not net.inner.training


class Counts(nn.Module):
    """Knows by an attribute what it has seen in training."""

    def __init__(self, kind):
        super().__init__()
        self.fc, self.kind = nn.Linear(16, 3), kind
        self.seen = dict(
            tensor=torch.ones(3),
            number=1.0,
            list=[torch.ones(3)],
            none=None,
            unused=torch.ones(3),
        ).get(kind)
        # Hidden from it.
        self.__dict__['mean'] = nn.Linear(16, 3)

    def forward(self, inputs, mode='tensor'):
        inputs = inputs.flatten(1)
        logits = self.fc(inputs)
        if self.training:
            if self.kind == 'module':
                self.mean.weight.data += 1
            elif self.kind == 'list':
                self.seen = [logits.detach().mean(0)]
            elif self.kind == 'number':
                self.seen *= 2
            else:
                self.seen = logits.detach().mean(0)
        if self.kind == 'module':
            return self.mean(inputs)
        if self.kind == 'unused' or self.seen is None:
            return logits
        return logits * (self.seen[0] if self.kind == 'list' else self.seen)


@pytest.mark.parametrize(
    'kind', ['tensor', 'number', 'list', 'none', 'module', 'unused']
)
def test_attributes_that_checkpoints_would_not_have(kind):
    torch.manual_seed(0)
    net = Counts(kind).eval()
    before = deepcopy(vars(net)['seen'])
    state, images = torch.get_rng_state(), torch.zeros(4, 1, 4, 4)
    if kind == 'unused':
        check_kept_state(net, images)
    else:
        name = 'mean' if kind == 'module' else 'seen'
        with pytest.raises(ValueError, match=f' in {name}, .*register_buffer'):
            check_kept_state(net, images)
    assert str(net.seen) == str(before) and not net.training
    assert torch.equal(torch.get_rng_state(), state)


class Keeps(nn.Module):
    """What a loss or generator may keep, and where."""

    def __init__(self):
        super().__init__()
        self.calls, self.rate, self.cache = 0, 0.5, None
        self.means, self.listed = torch.zeros(2), []
        self.register_buffer('kept', torch.zeros(2))
        self.register_buffer('loose', torch.zeros(2), persistent=False)
        self.part = nn.Linear(2, 2)
        self.part.seen = {}

    def step(self):
        self.calls += 1
        self.means = self.means + 1
        self.listed.append(self.means)
        self.kept += 1
        self.loose += 1
        self.part.seen[self.calls] = 1.0
        self.part(self.means).sum().backward()
        self.cache = torch.ones(3)


def test_plain_attributes():
    module = Keeps()
    before = plain_attributes(module)
    assert changed_attributes(before, plain_attributes(module)) == set()
    module.step()
    found = changed_attributes(before, plain_attributes(module))
    assert found == {'calls', 'means', 'listed', 'loose', 'part.seen'}
    assert 'without: calls, listed, loose, means, part.s' in about_lost(found)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Blocks that a student starts from, against brute force on real copies."""

import copy

import pytest
import torch
import torch.nn as nn

from csd_mmrazor.models.utils import (
    choose_blocks,
    find_chains,
    passes_of,
)


class Net(nn.Module):
    """Three chains, of which the first of the second and third widen."""

    def __init__(self, *depths, width=4, act=nn.ReLU):
        super().__init__()

        def block(before, after):
            return nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)
            )

        class Residual(nn.Module):
            def __init__(self, before, after):
                super().__init__()
                self.body, self.act = block(before, after), act()
                self.is_wider = after > before

            def forward(self, x, scale=1):
                y = self.body(x) * scale
                return self.act(y if self.is_wider else x + y)

        self.stem = nn.Conv2d(1, width, 3)
        self.a, self.b, self.c = (
            nn.ModuleList(
                Residual(width * 2 ** (i - (i > 0 and j == 0)), width * 2**i)
                for j in range(depth)
            )
            for i, depth in enumerate(depths)
        )
        self.fc = nn.Linear(4 * width, 5)

    def forward(self, x, mode=None):
        x = self.stem(x)
        for block in [*self.a, *self.b, *self.c]:
            x = block(x, scale=0.5)
        return self.fc(x.mean((2, 3)))


def lived_in(model, shape=(1, 8, 8)):
    """Draw statistics, so that each block does something of its own."""
    model.train()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.weight.uniform_(0.5, 2)
                part.bias.uniform_(-0.5, 0.5)
        for _ in range(3):
            model(torch.randn(16, *shape), mode='tensor')
    return model.eval()


def really_without(model, kept):
    """A copy without the blocks that are not kept."""
    model = copy.deepcopy(model)
    for name, places in kept.items():
        blocks = list(getattr(model, name))
        setattr(model, name, nn.ModuleList(blocks[i] for i in places))
    return model


def error_after(teacher, kept, name, inputs):
    """Squared error of the map after a container."""

    def after(model):
        x = model.stem(inputs)
        for chain in 'abc':
            for block in getattr(model, chain):
                x = block(x, scale=0.5)
            if chain == name:
                return x

    with torch.no_grad():
        less = really_without(teacher, kept)
        return (after(less) - after(teacher)).square().sum().item()


def kl(teacher, model, inputs):
    with torch.no_grad():
        p = teacher(inputs).double().softmax(1)
        q = model(inputs).double().softmax(1)
    return (p * (p / q).log()).sum(1).mean().item()


@pytest.fixture
def pair():
    return lived_in(Net(4, 3, 4)), Net(2, 2, 1), torch.randn(70, 1, 8, 8)


def test_the_best_of_all_choices(pair):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    found = choose_blocks(teacher, inputs, chains)
    for name, choices in dict(
        a=[[0, i] for i in range(1, 4)],
        b=[[0, i] for i in range(1, 3)],
        c=[[0]],
    ).items():
        assert found.kept[name] == min(
            choices,
            key=lambda kept: error_after(teacher, {name: kept}, name, inputs),
        )
    pruned = really_without(teacher, found.kept)
    assert found.kl == pytest.approx(kl(teacher, pruned, inputs), rel=1e-4)
    with torch.no_grad():
        alike = pruned(inputs).argmax(1) == teacher(inputs).argmax(1)
    assert found.agreement == alike.double().mean().item()
    assert [passes_of(chain) for chain in chains] == [
        {0: 1, 2: 3},
        {0: 1, 1: 2},
        {0: 1, 3: 1},
    ]
    assert found.passes == 4 + 3 + 2 + 2
    # The same again.
    assert choose_blocks(teacher, inputs, chains) == found


def test_one_after_another_where_there_are_too_many(pair):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    found = choose_blocks(teacher, inputs, chains, tried=2)
    kept = [*range(4)]
    for _ in range(2):
        kept = min(
            ([i for i in kept if i != gone] for gone in kept[1:]),
            key=lambda rest: error_after(teacher, dict(a=rest), 'a', inputs),
        )
    assert found.kept['a'] == kept
    assert passes_of(chains[0], 2) == {0: 1, 1: 3, 2: 2}


@pytest.mark.parametrize('tried', [2, 200])
def test_passes_are_those_that_are_made(pair, tried):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    made = []
    teacher.stem.register_forward_hook(lambda *_: made.append(1))
    found = choose_blocks(teacher, inputs[:9], chains, tried)
    assert len(made) == found.passes

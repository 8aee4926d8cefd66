# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Blocks that a student starts from, against brute force on real copies."""

import copy

import pytest
import torch
import torch.nn as nn

from csd_mmrazor.models.utils import (
    choose_blocks,
    find_chains,
    passes_of_steps,
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


def kl(teacher, model, inputs):
    with torch.no_grad():
        p = teacher(inputs).double().softmax(1)
        q = model(inputs).double().softmax(1)
    return (p * (p / q).log()).sum(1).mean().item()


@pytest.fixture
def pair():
    return lived_in(Net(4, 3, 4)), Net(2, 2, 1), torch.randn(70, 1, 8, 8)


def test_each_step_is_the_best_there_is(pair):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    found = choose_blocks(teacher, inputs, chains, tried=None)
    kept, passes = {'a': [*range(4)], 'b': [*range(3)], 'c': [*range(4)]}, 1
    wanted = dict(a=2, b=2, c=1)
    while any(len(kept[name]) > wanted[name] for name in kept):
        tried = []
        for name, places in kept.items():
            for place in places[1:]:  # the first one stays
                if len(places) > wanted[name]:
                    rest = [i for i in places if i != place]
                    less = really_without(teacher, {**kept, name: rest})
                    tried.append((kl(teacher, less, inputs), name, rest))
        passes += len(tried)
        least, name, rest = min(tried, key=lambda each: each[0])
        kept[name] = rest
    assert found.kept == kept
    assert found.kl == pytest.approx(least, rel=1e-4)
    assert found.passes == passes <= sum(passes_of_steps(chains, None))
    with torch.no_grad():
        pruned = really_without(teacher, kept)(inputs).argmax(1)
        alike = (pruned == teacher(inputs).argmax(1)).double().mean().item()
    assert found.agreement == alike


def test_few_tries_find_nearly_the_same(pair):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    few = choose_blocks(teacher, inputs, chains, tried=3)
    assert few.passes <= sum(passes_of_steps(chains, 3))
    assert passes_of_steps(chains, 3) == [1, 8, 3, 3, 3, 3, 3]
    assert passes_of_steps(chains, None) == [1, 8, 7, 6, 5, 4, 3]
    # Of all choices of as many blocks, it is among the best fifth.
    every = [
        kl(
            teacher,
            really_without(teacher, dict(a=[0, a], b=[0, b], c=[0])),
            inputs,
        )
        for a in range(1, 4)
        for b in range(1, 3)
    ]
    assert sum(each < few.kl - 1e-6 for each in every) <= len(every) / 5
    # The same again.
    assert choose_blocks(teacher, inputs, chains, tried=3) == few

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A generator, its optimizer and its latents from round to round."""

from copy import deepcopy

import pytest
import torch
import torch.nn as nn
from helpers import build

from csd_mmrazor.models.synthesizers.feature_memory import FeatureMemory


def generator():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_weights_and_statistics_go_on():
    lasting, made = build(dict(type='LastingGenerator')), generator()
    lasting.prepare(made)
    for _ in range(3):
        lasting.begin_round(made)
        made.train()(torch.randn(8, 2))
        made[0].weight.data += 1
        lasting.end_round(made)
    start = {k: v.clone() for k, v in made.state_dict().items()}
    assert start['1.num_batches_tracked'] == 3
    other, copy = build(dict(type='LastingGenerator')), generator()
    other.prepare(copy)
    other.load_state({k: v.clone() for k, v in lasting.state().items()})
    other.begin_round(copy)
    for name, value in copy.state_dict().items():
        assert torch.equal(value, start[name])
    assert other.age == 3


def test_life():
    """New weights after 3 rounds without the student and 2 with it."""
    lasting = build(dict(type='LastingGenerator', life=2, initial_life=3))
    made = generator()
    lasting.prepare(made)
    weights = []
    for number in range(10):
        lasting.begin_round(made, with_student=number >= 6)
        weights.append(made[0].weight.detach().clone())
        lasting.end_round(made)
    drawn = [
        number
        for number in range(1, 10)
        if not torch.equal(weights[number - 1], weights[number])
    ]
    assert drawn == [3, 6, 8]


@pytest.mark.parametrize('processes', [1, 2])
def test_new_weights_are_the_same_in_all_processes(monkeypatch, processes):
    """Each of them draws its round by a seed of its own."""
    monkeypatch.setattr(
        'csd_mmrazor.models.synthesizers.lasting_generator.get_world_size',
        lambda: processes,
    )
    lasting, made = build(dict(type='LastingGenerator', life=1)), generator()
    lasting.prepare(made)
    lasting.end_round(made)
    found = []
    for seed in (1, 2):
        copy = deepcopy(lasting)
        torch.manual_seed(seed)
        copy.begin_round(made)
        found.append(made[0].weight.detach().clone())
    assert torch.equal(*found) == (processes > 1)
    assert not torch.equal(found[0], lasting.weights[0].weight)


@pytest.mark.parametrize('name', ['life', 'initial_life'])
def test_bad_life(name):
    message = f'{name} of LastingGenerator .* positive integer, but got 0'
    with pytest.raises(ValueError, match=message):
        build(dict(type='LastingGenerator', **{name: 0}))


@pytest.mark.parametrize('sizes', [(3, 3, 3, 3), (2, 7), (9,), (4, 1, 1)])
def test_the_memory_has_the_newest(sizes):
    memory, count = FeatureMemory(5), 0
    for size in sizes:
        memory.add(torch.arange(count, count + size)[:, None].float())
        count += size
    drawn = memory.draw(99, 1, torch.device('cpu'))[:, 0].tolist()
    assert sorted(drawn) == list(range(max(count - 5, 0), count))
    assert len(memory.draw(2, 1, torch.device('cpu'))) == 2
    # What a run that was resumed leaves out changes nothing.
    resumed, count = FeatureMemory(5), 0
    left = sum(sizes)
    for size in sizes:
        left -= size
        if left >= 5:
            resumed.skip(size)
        else:
            resumed.add(torch.arange(count, count + size)[:, None].float())
        count += size
    torch.manual_seed(0)
    expected = memory.draw(3, 1, torch.device('cpu'))
    torch.manual_seed(0)
    assert torch.equal(resumed.draw(3, 1, torch.device('cpu')), expected)

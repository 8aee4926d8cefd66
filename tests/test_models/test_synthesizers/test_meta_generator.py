# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The meta-generator's steps against plain arithmetic."""

from copy import deepcopy

import pytest
import torch
import torch.nn as nn
from helpers import build


class Line(nn.Module):
    """A generator of two weights."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))


def meta(rule, optimizer):
    made = build(dict(type='MetaGenerator', rule=rule, optimizer=optimizer))
    generator = Line()
    made.prepare(generator)
    return made, generator


def adapt(made, generator, grads):
    """A round of steps of rate 0.1 along these gradients."""
    made.begin_round(generator)
    for grad in grads:
        generator.weight.grad = grad.clone()
        made.after_backward(generator)
        with torch.no_grad():
            generator.weight -= 0.1 * grad
    made.end_round(generator)


def test_fomaml_sums_gradients():
    made, generator = meta('fomaml', dict(type='SGD', lr=0.5))
    grads = torch.randn(3, 2)
    start = made.weights.weight.detach().clone()
    adapt(made, generator, grads)
    expected = start - 0.5 * grads.sum(0)
    torch.testing.assert_close(made.weights.weight.data, expected)
    # The next round starts there, and from no old gradient.
    adapt(made, generator, grads[:1])
    torch.testing.assert_close(
        made.weights.weight.data, expected - 0.5 * grads[0]
    )


def test_reptile_moves_towards_the_copy():
    made, generator = meta('reptile', dict(type='SGD', lr=0.25))
    start = made.weights.weight.detach().clone()
    grads = torch.randn(3, 2)
    adapt(made, generator, grads)
    adapted = start - 0.1 * grads.sum(0)
    torch.testing.assert_close(
        made.weights.weight.data, start + 0.25 * (adapted - start)
    )


def test_reptile_of_rate_1_goes_on():
    made, generator = meta('reptile', dict(type='SGD', lr=1.0))
    adapt(made, generator, torch.randn(3, 2))
    torch.testing.assert_close(made.weights.weight.data, generator.weight.data)


@pytest.mark.parametrize('rule', ['fomaml', 'reptile'])
def test_statistics_go_on(rule):
    """Or images of ``keep='last'`` would be made with those of one round."""
    made = build(
        dict(
            type='MetaGenerator', rule=rule, optimizer=dict(type='SGD', lr=1.0)
        )
    )
    generator = nn.BatchNorm1d(2)
    made.prepare(generator)
    seen = nn.BatchNorm1d(2)
    for images in torch.randn(3, 8, 2) + 5:
        made.begin_round(generator)
        generator(images).sum().backward()
        made.after_backward(generator)
        made.end_round(generator)
        seen(images)
    assert generator.running_mean.min() > 1
    for name, expected in seen.named_buffers():
        torch.testing.assert_close(generator.get_buffer(name), expected)
    state = {name: value.clone() for name, value in made.state().items()}
    other = deepcopy(made)
    other.weights.reset_running_stats()
    old = {k: v for k, v in state.items() if not k.startswith('buffers.')}
    assert len(old) == len(state) - 3
    other.load_state(old)
    assert not other.weights.running_mean.any()
    other.load_state(state)
    assert torch.equal(other.weights.running_mean, seen.running_mean)


def test_state_is_all_there_is():
    """A copy that takes over the state goes on alike."""
    adam = dict(type='Adam', lr=0.1, betas=(0.5, 0.999))
    made, generator = meta('fomaml', adam)
    grads = torch.randn(4, 3, 2)
    for each in grads[:2]:
        adapt(made, generator, each)
    other, other_generator = meta('fomaml', adam)
    state = {name: value.clone() for name, value in made.state().items()}
    assert {name.split('.')[0] for name in state} == {'weights', 'optimizer'}
    other.load_state(state)
    for each in grads[2:]:
        adapt(made, generator, each)
        adapt(other, other_generator, each)
    assert torch.equal(made.weights.weight, other.weights.weight)


def test_bad_arguments():
    with pytest.raises(ValueError, match="rule of MetaGenerator .* 'maml'"):
        meta('maml', dict(type='SGD', lr=1.0))
    made = build(dict(type='MetaGenerator'))
    with pytest.raises(ValueError, match='generator with weights, but Pixel'):
        made.prepare(build(dict(type='PixelGenerator', img_size=4)))


def test_weights_that_a_pass_does_not_use_stay():
    made, generator = meta('fomaml', dict(type='SGD', lr=0.5))
    start = made.weights.weight.detach().clone()
    made.begin_round(generator)
    generator.weight.grad = None
    made.after_backward(generator)
    made.end_round(generator)
    assert torch.equal(made.weights.weight, start)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch

from csd_mmrazor.models.synthesizers.loss_scale import (
    FIRST_SCALE,
    LossScale,
)

FIRST = torch.tensor(FIRST_SCALE)


def test_gradients_are_those_without_a_scale():
    weights = [torch.randn(3, 2, requires_grad=True) for _ in range(2)]
    loss = sum((w**3).sum() for w in weights)
    expected = torch.autograd.grad(loss, weights, retain_graph=True)
    scale = LossScale(FIRST)
    found = torch.autograd.grad(loss * scale.scale, weights)
    scale.unscale_(list(found))
    for one, other in zip(found, expected):
        assert torch.equal(one, other)
    assert (scale.scale, scale.taken) == (1024, 1)


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_a_step_that_overflows_is_skipped(bad):
    scale, memory = LossScale(FIRST), None
    for step in range(4):
        gradients = [torch.full((2,), 1024.0), torch.full((3, 1), 512.0)]
        memory = memory or scale.scale.data_ptr()
        if step < 2:
            gradients[1][1] = bad
        scale.unscale_(gradients)
        expected = [0.0, 0.0] if step < 2 else [16.0, 8.0]
        assert [g.max().item() for g in gradients] == expected
        assert [g.min().item() for g in gradients] == expected
        assert not scale.overflows(2)
        assert scale.overflows(3) == (step < 2)
    assert scale.scale == 64 and scale.taken == 2 and FIRST == 1024
    assert scale.scale.data_ptr() == memory  # a graph can replay it


def test_gradients_that_overflow_without_any_scale():
    scale = LossScale(FIRST)
    scale.unscale_([torch.ones(2)])
    for _ in range(6):
        assert not scale.overflows(99)
        scale.unscale_([torch.full((2,), float('nan'))])
    assert scale.overflows(99)

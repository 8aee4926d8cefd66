# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn

from csd_mmrazor.utils.modules import exclude_from_checkpoints


def made():
    net = nn.ModuleDict(dict(student=nn.Linear(2, 2), other=nn.Linear(3, 3)))
    exclude_from_checkpoints(net, 'other')
    return net


@pytest.mark.parametrize(
    'within', [lambda net: net, nn.Sequential, ExponentialMovingAverage]
)
def test_a_part_is_left_out_wherever_it_is(within):
    """Strict loading misses it neither alone nor in what holds the whole."""
    whole, other = within(made()), within(made())
    saved = whole.state_dict()
    assert saved and not any('other.' in key for key in saved)
    other.load_state_dict(saved)
    assert all(
        torch.equal(value, saved[key])
        for key, value in other.state_dict().items()
    )
    del saved[[key for key in saved if key.endswith('student.weight')][0]]
    with pytest.raises(RuntimeError, match='Missing .*student.weight"'):
        other.load_state_dict(saved)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn

from csd_mmrazor.utils.modules import (
    exclude_from_checkpoints,
    switch_inplace_off,
)


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


class Unit(nn.Sequential):
    """Its first ReLU changes what is added afterwards, as in MiDaS."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.ReLU(True), nn.Linear(4, 4))
        self.last = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self[0](x)
        return self.last(self[2](self[1](x)) + x)


def test_layers_work_in_place_where_that_matters():
    torch.manual_seed(0)
    net, plain = Unit(), nn.Sequential(nn.Linear(4, 4), nn.ReLU(True))
    x = torch.randn(9, 4)
    expected = net(x)
    for module in net, plain:
        switch_inplace_off(module, lambda m=module: m(x))
    assert torch.equal(net(x), expected)
    assert net[1].inplace and not net.last.inplace and not plain[1].inplace
    switch_inplace_off(net)
    assert not net[1].inplace and not torch.equal(net(x), expected)

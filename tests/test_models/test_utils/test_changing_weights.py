# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Networks that change weights of plain layers in their forward."""

from copy import deepcopy

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from csd_mmrazor.models.utils import (
    cast_together,
    fast_frozen_bn,
    frozen,
    marking_changing_weights,
)


class Net(nn.Module):
    """A network with a layer of each kind; its forward changes one."""

    def __init__(self, change=None, name='fc'):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.fc, self.change, self.name = nn.Linear(8, 5), change, name

    def forward(self, images):
        maps = self.bn(self.conv(images)).relu()
        layer = getattr(self, self.name)
        before = layer.weight.data
        if self.change is not None:
            self.change(layer)
        # All kinds run after the change of one.
        maps = self.bn(F.conv2d(maps, self.conv.weight[:, :1], groups=8))
        outputs = self.fc(maps.mean((2, 3)))
        if self.change is swapped:
            layer.weight.data = before
        return outputs


def replaced(layer):
    layer.weight.data = layer.weight.data.clamp(-0.25, 0.25)


def in_place(layer):
    with torch.no_grad():
        layer.weight.copy_(layer.weight.sign())


def idle(layer):
    layer.weight.data.clamp_(-1e6, 1e6)


def by_out(layer):
    torch.mul(layer.weight.data, 2, out=layer.weight.data)


def of_all(layer):
    torch._foreach_mul_([layer.weight.data, layer.bias.data], 0.5)


def through_a_view(layer):
    layer.weight.data.view(-1)[0] = 3


def swapped(layer):
    layer.weight.data = layer.weight.data.sign()


CHANGES = replaced, in_place, idle, by_out, of_all, through_a_view, swapped


def marked(net):
    return [
        name for name, each in net.named_children() if each._forward_pre_hooks
    ]


@pytest.mark.parametrize('name', ['conv', 'bn', 'fc'])
@pytest.mark.parametrize('change', CHANGES, ids=lambda f: f.__name__)
def test_a_layer_that_changes_is_marked(change, name):
    net = Net(change, name).eval()
    for _ in range(2):
        with marking_changing_weights(net), torch.no_grad():
            net(torch.randn(2, 3, 8, 8))
    assert marked(net) == marked(deepcopy(net)) == [name]
    assert len(getattr(net, name)._forward_pre_hooks) == 1
    with cast_together(net), fast_frozen_bn(net):
        assert 'forward' not in vars(getattr(net, name))


@pytest.mark.parametrize('training', [False, True])
def test_other_layers_are_not(training):
    net = Net().train(training)
    with pytest.raises(RuntimeError), marking_changing_weights(net):
        net(torch.randn(2, 3, 8, 8)).sum().backward()
        raise RuntimeError
    assert marked(net) == []


def test_running_statistics_count():
    net = Net().eval()
    forward = net.forward

    def of_a_domain(images):
        net.bn.running_mean.data.copy_(images.mean() * torch.ones(8))
        return forward(images)

    net.forward = of_a_domain
    with marking_changing_weights(net):
        net(torch.randn(2, 3, 8, 8))
    assert marked(net) == ['bn']


@pytest.mark.parametrize('change', [replaced, idle, swapped])
def test_results_are_those_of_the_plain_network(change):
    net, images = Net(change).eval(), torch.randn(4, 3, 8, 8)
    with marking_changing_weights(net), torch.no_grad():
        net(images)
    net.fc.weight.data.normal_()
    twin = deepcopy(net)
    with frozen(net, twin), torch.autocast('cpu', torch.bfloat16):
        expected = [net(images) for _ in range(2)]
        with cast_together(twin):
            found = [twin(images) for _ in range(2)]
    for one, other in zip(found, expected):
        assert torch.equal(one, other)

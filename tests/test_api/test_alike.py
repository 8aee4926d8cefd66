# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which attributes tell two networks of the same weights apart."""

import collections
import functools
import threading
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from csd_mmrazor.api.alike import difference, loose_tensors, unlike_training

Pair = collections.namedtuple('Pair', 'a b')


class Slotted:
    __slots__ = ('p',)

    def __init__(self, p):
        self.p = p


class Number(float):
    """A float that says of itself what it is."""


def of_itself(net, p):
    return lambda x: F.dropout(x, p, net.training)


def hooked(net, p):
    net.register_forward_hook(lambda *_: p)


def in_a_circle(net, p):
    found = SimpleNamespace(p=p)
    found.owner, found.net = found, net
    return found


VALUES = {
    'number': lambda net, p: p,
    'a number of its own kind': lambda net, p: Number(p),
    'string': lambda net, p: str(p),
    'NaN': lambda net, p: (float('nan'), p),
    'nested': lambda net, p: dict(a=[(1, {'b': p})]),
    'named tuple': lambda net, p: Pair(1, p),
    'set': lambda net, p: {p},
    'array': lambda net, p: np.array([p]),
    'shape': lambda net, p: torch.ones(int(10 * p)),
    'object': lambda net, p: SimpleNamespace(a=SimpleNamespace(p=p)),
    'slots': lambda net, p: Slotted(p),
    'circle': in_a_circle,
    'partial': lambda net, p: functools.partial(F.dropout, p=p),
    'function': of_itself,
    'default': lambda net, p: lambda x, p=p: x,
    'method': lambda net, p: Slotted(p).__init__,
    'modules in a list': lambda net, p: [nn.Dropout(p)],
    'its own module': lambda net, p: [net.drop, p],
    'hook': hooked,
}


def made(value, p):
    net = nn.Sequential()
    net.drop = nn.Dropout(0.5)
    net.fc = nn.Linear(2, 2)
    net.value = value(net, p)
    return net


@pytest.mark.parametrize('value', VALUES.values(), ids=VALUES)
def test_values_deep_in_attributes(value):
    assert difference(made(value, 0.5), made(value, 0.5)) == ''
    found = difference(made(value, 0.5), made(value, 0.9))
    assert found == ('_forward_hooks' if value is hooked else 'value')


def test_what_cannot_be_looked_into():
    lock = threading.Lock()
    same = [made(lambda *_: lock, 0) for _ in range(2)]
    assert difference(*same) == ''
    own = [made(lambda *_: threading.Lock(), 0) for _ in range(2)]
    assert difference(*own) == 'value'


def watched(net):
    for layer in net.modules():
        for register in (
            layer.register_forward_hook,
            layer.register_forward_pre_hook,
            layer.register_full_backward_hook,
            layer.register_full_backward_pre_hook,
        ):
            register(lambda *_: None).remove()


def pruned_for_good(net):
    prune.l1_unstructured(net.fc, 'weight', 0.5)
    prune.remove(net.fc, 'weight')


@pytest.mark.parametrize(
    'use',
    [
        watched,
        pruned_for_good,
        lambda net: net.compile(),
        lambda net: torch.compile(net),
        lambda net: torch.jit.script(net.fc),
        lambda net: torch.jit.trace(net.eval(), torch.ones(1, 2)),
        lambda net: torch.fx.symbolic_trace(net),
        lambda net: nn.DataParallel(net),
        lambda net: torch.optim.swa_utils.AveragedModel(net),
        lambda net: net.half().float().share_memory(),
    ],
)
def test_what_is_done_with_a_network_changes_nothing(use):
    net = nn.Sequential()
    net.drop, net.fc = nn.Dropout(0.5), nn.Linear(2, 2)
    like = deepcopy(net)
    use(net)
    assert difference(net, like) == ''


def test_parts_and_weights():
    def plain():
        return made(lambda *_: None, 0)

    other = plain()
    other.drop.p = 0.1
    assert difference(plain(), other) == 'drop.p'
    other = plain()
    other.drop = nn.Identity()
    assert difference(plain(), other) == 'the class of drop'
    other = plain()
    other.fc.requires_grad_(False)
    assert difference(plain(), other) == ''
    assert unlike_training(plain(), other) == 'requires_grad of fc.weight'
    assert unlike_training(plain(), plain()) == ''
    one, other = plain(), plain()
    one.more, other.more = nn.Linear(2, 2), nn.Linear(2, 2)
    other.more.weight = other.fc.weight
    assert difference(one, other) == 'layers that are used twice'


def test_tensors_that_no_state_dict_has():
    net = made(lambda *_: torch.ones(1), 0)
    net.fc.register_buffer('kept', torch.zeros(2), persistent=False)
    net.fc.register_buffer('saved', torch.zeros(2))
    assert loose_tensors(net).keys() == {'.value', 'fc.kept'}

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F

from csd_mmrazor.api.copies import check_copy
from csd_mmrazor.api.networks import copied, trace


class Closed(nn.Module):
    """Has a function that refers to itself, as a copy of it still does."""

    def __init__(self, kind):
        super().__init__()
        self.body, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.kind, self.seen = kind, {}
        self.head = lambda features: self.fc(features)
        self.whole = lambda images: self.fc(self.body(images).mean((2, 3)))
        if kind == 'hook':
            self.body.register_forward_hook(
                lambda _, __, output: self.seen.update(a=output)
            )
        if kind == 'weights':
            self.head = lambda features: F.linear(features, self.fc.weight)
        if kind == 'replaced':
            forward = self.forward
            self.forward = lambda images: forward(images * 2)

    def forward(self, images):
        if self.kind == 'whole':
            return self.whole(images)
        maps = self.body(images)
        if self.kind == 'hook':
            maps = self.seen['a']
        head = self.head if self.kind in ('head', 'weights') else self.fc
        return head(maps.mean((2, 3)))


@pytest.mark.parametrize(
    'kind, place',
    [
        ('head', 'fc'),
        ('weights', 'fc.weight'),
        ('whole', 'body'),
        ('replaced', 'body'),
        ('none', None),
    ],
)
@pytest.mark.parametrize('is_training', [True, False])
def test_copies_that_call_the_original(kind, place, is_training):
    net = Closed(kind).train(is_training)
    images = torch.randn(2, 3, 8, 8)
    args = net, copied(net, 'student'), images, 'student'
    if place is None:
        return check_copy(*args)
    message = rf'student \(Closed\) cannot be .* "{place}", since a lambda'
    with pytest.raises(ValueError, match=message):
        check_copy(*args)
    assert not nn.modules.module._global_forward_pre_hooks


def test_hooks_that_write_into_the_original():
    copy = copied(Closed('hook'), 'student')
    with pytest.raises(ValueError, match='KeyError.* its hook on "body"'):
        trace({}, copy, torch.randn(2, 3, 8, 8), 'student')


def test_hooks_that_have_written_into_the_original():
    """The copy has what an earlier pass left, here of one image."""
    net, images = Closed('hook'), torch.randn(2, 3, 8, 8)
    net.eval()(torch.randn(1, 3, 8, 8))
    net.seen = {k: v.detach() for k, v in net.seen.items()}
    net.body._forward_hooks.clear()
    net.body.register_forward_hook(
        lambda _, __, output: setattr(net, 'seen', dict(a=output))
    )
    with pytest.raises(ValueError, match='the copy computes something else'):
        check_copy(net, copied(net, 'teacher'), images, 'teacher')


class Whole(nn.Conv2d):
    def __deepcopy__(self, memo):
        return self


def test_parts_that_are_never_copied():
    net = nn.Sequential(Whole(3, 4, 3), nn.Flatten(), nn.Linear(144, 5))
    args = net, copied(net, 'teacher'), torch.randn(2, 3, 8, 8), 'teacher'
    message = r'^teacher .*__deepcopy__ of Whole returns its "0" itself'
    with pytest.raises(ValueError, match=message):
        check_copy(*args)

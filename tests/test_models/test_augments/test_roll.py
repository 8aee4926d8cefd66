# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from helpers import build

from csd_mmrazor.models import RandomRoll


def test_all_images_are_rolled_alike():
    images = torch.arange(2 * 25).view(2, 1, 5, 5)
    augment = RandomRoll(1)
    seen = set()
    for _ in range(60):
        rolled = augment(images)
        (found,) = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if torch.equal(images.roll((down, right), (2, 3)), rolled)
        ]
        seen.add(found)
    assert len(seen) == 9


def test_flips():
    images = torch.rand(3, 2, 4, 4)
    assert torch.equal(RandomRoll(0, 1.0)(images), images.flip(3))
    assert torch.equal(RandomRoll(0)(images), images)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(shift=-1), 'shift of RandomRoll .* 0 or more, but got -1'),
        (dict(flip_prob=2), 'flip_prob of RandomRoll .* between 0 and 1'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(dict(type='RandomRoll', **kwargs))

# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch
from helpers import build

from csd_mmrazor.models.utils import Draws, drawn

IMAGES = torch.arange(4 * 36.0).view(4, 1, 6, 6)
AUGMENTS = [
    build(dict(type='RandomCropFlip', padding=2)),
    build(dict(type='RandomRoll', shift=2, flip_prob=0.5)),
    build(dict(type='RandomResizedCropFlip')),
]


def step():
    return [augment(IMAGES) for augment in AUGMENTS]


def test_steps_find_what_they_would_have_drawn():
    torch.manual_seed(3)
    expected = [step() for _ in range(3)]
    torch.manual_seed(3)
    draws = Draws()
    for number, images in enumerate(expected):
        if number:
            draws.renew()
        state = torch.get_rng_state()
        with draws.found():
            found = step()
        assert all(map(torch.equal, found, images))
        if number:  # the step drew nothing
            assert torch.equal(torch.get_rng_state(), state)
    assert not draws.differ


def test_memory_stays_and_is_of_its_own():
    source = torch.zeros(2)
    draws, found = Draws(), []
    for number in range(3):
        source.fill_(number)
        if number:
            draws.renew()
        with draws.found():
            (value,) = drawn(lambda: (source,))
        found.append(value.data_ptr())
        assert value.tolist() == [number, number]
    assert {*found} == {found[0]} and found[0] != source.data_ptr()


def test_others_than_in_the_first_step_are_seen():
    for counts, differ in (((1, 1), False), ((1, 2), True), ((2, 1), True)):
        draws = Draws()
        for count in counts:
            with draws.found():
                for _ in range(count):
                    assert drawn(lambda: (torch.ones(3),))[0].sum() == 3
        assert draws.differ == differ

# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import build

from csd_mmrazor.datasets import ImageBank
from csd_mmrazor.datasets.bank_folder import IMPORTED, INITIAL
from csd_mmrazor.engine.agreement_images import (
    bank_images,
    bank_labels,
    compare,
    fresh_images,
    known_biases,
    spread,
)
from csd_mmrazor.models.augments import RandomCropFlip
from csd_mmrazor.models.synthesizers import Networks, NonFiniteSynthesisError


def filled(path, **kwargs):
    bank = ImageBank(**kwargs)
    bank.open(path, (1, 8, 8), 10)
    for number, epoch in enumerate((IMPORTED, INITIAL, 0, 1)):
        seed = np.random.default_rng(number)
        images = seed.integers(256, size=(16, 1, 8, 8)).astype(np.uint8)
        bank.append(images, seed.integers(10, size=16), epoch, 0)
    return bank


@pytest.fixture
def bank(tmp_path):
    return filled(tmp_path / 'bank', held_out=0.25)


def _of_mmengine(forward, inputs, mode):
    return forward(inputs)


def as_set(images):
    return {image.numpy().tobytes() for image in images}


def at(bank, places):
    return bank.__getitems__(places.tolist())['inputs']


@pytest.mark.parametrize('length', [0, 1, 5, 10, 11])
def test_places_from_all_over(length):
    places = 3 * np.arange(length)
    found = spread(places, 5)
    assert set(found) <= set(places) and len(found) == min(length, 5)
    assert len(set(found)) == len(found)
    if length:
        assert (found[0], found[-1]) == (places[0], places[-1])


def test_sets_of_images(bank):
    held, seen = bank.places(True), bank.places(False)
    assert as_set(bank_images(bank, 'held_out', 99)) == as_set(at(bank, held))
    assert as_set(bank_images(bank, 'seen', 99)) == as_set(at(bank, seen))
    initial = bank_images(bank, 'initial', 99)
    assert torch.equal(initial, at(bank, held[held < 32]))
    assert len(initial) == 8
    for name in ('held_out', 'initial', 'views', 'mixed', 'seen'):
        assert bank_images(bank, name, 3).shape == (3, 1, 8, 8)
        # The same in each epoch, whatever was drawn meanwhile.
        state = torch.random.get_rng_state()
        first = bank_images(bank, name, 99)
        assert torch.equal(torch.random.get_rng_state(), state)
        torch.rand(1)
        assert torch.equal(bank_images(bank, name, 99), first)


def test_views_and_pairs_by_hand(bank):
    images = bank_images(bank, 'held_out', 99)
    shifted = RandomCropFlip(padding=1, flip_prob=0)
    for augment in (None, shifted):
        views = bank_images(bank, 'views', 99, augment)
        padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
        for view, each in zip(views, padded):
            crops = [
                each[:, top : top + 8, left : left + 8]
                for top in range(3)
                for left in range(3)
            ]
            assert any(torch.equal(view, crop) for crop in crops)
        assert not torch.equal(views, images)
    mixed = bank_images(bank, 'mixed', 99).int()
    partners = (2 * mixed - images.int()).clamp(0, 255)
    # Half of an odd sum is rounded up.
    gaps = (partners[:, None] - images[None].int()).abs().flatten(2).amax(2)
    assert gaps.amin(1).max() < 2
    chosen = gaps.argmin(1)
    assert chosen.sort()[0].tolist() == list(range(len(images)))
    assert (chosen != torch.arange(len(images))).sum() > len(images) / 2


def test_what_the_teacher_recognises(bank):
    class Teacher(torch.nn.Module):
        """Sees the class 3 in every image."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, inputs, mode):
            return torch.eye(10)[3].expand(len(inputs), 10)

    networks = Networks(Teacher(), None, None, lambda images: images)
    for name, is_held in (('held_out', True), ('seen', False)):
        chosen = bank.labels()[bank.places(is_held)]
        labels = bank_labels(bank, name, 99)
        assert labels.tolist() == chosen.tolist()
        images = bank_images(bank, name, 99)
        found = compare(networks, dict(a=Teacher()), images, labels)['a']
        assert found['recognised'] == pytest.approx(100 * (chosen == 3).mean())


def test_nothing_is_held_out(tmp_path):
    other = filled(tmp_path / 'bank')
    assert len(bank_images(other, 'held_out', 9)) == 0
    assert len(bank_images(other, 'views', 9)) == 0
    assert len(bank_images(other, 'mixed', 9)) == 0
    assert len(bank_images(other, 'seen', 9)) == 9


def test_what_estimates_are_biased_by():
    vit, cnn = torch.nn.LayerNorm(3), torch.nn.BatchNorm2d(3)
    pruned = dict(type='mmrazor.PrunedNetwork')
    assert known_biases(dict(type='ResNet'), cnn) == []
    assert known_biases(None, vit) == ['teacher_without_bn']
    assert known_biases(pruned, cnn) == ['student_pruned']


def test_a_round_that_diverges_leaves_nothing():
    """Though it is of the kind that starts with new weights."""
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    teacher.forward = partial(_of_mmengine, teacher.forward)
    networks = Networks(
        torch.nn.ModuleDict(dict(teacher=teacher)),
        deepcopy(teacher),
        None,
        lambda images: images,
    )
    synthesizer = build(
        dict(
            type='ImageSynthesizer',
            generator=dict(
                type='CSDGenerator', img_size=8, latent_dim=4, channels=1
            ),
            losses=dict(loss_oh=dict(type='OneHotLoss', loss_weight=1)),
            batch_size=4,
            iters=2,
            meta=dict(type='LastingGenerator', life=1),
        )
    )
    synthesizer.synthesize(networks, 10, seed=0)
    before = {k: v.clone() for k, v in synthesizer.persistent_state().items()}
    assert before['meta.age'] == 1
    rounds = SimpleNamespace(
        synthesizer=synthesizer, networks=networks, num_classes=10, seed=0
    )
    assert len(fresh_images(rounds, 3, 0)) == 3
    synthesizer.losses['loss_oh'].loss_weight = float('inf')
    with pytest.raises(NonFiniteSynthesisError):
        fresh_images(rounds, 3, 0)
    found = synthesizer.persistent_state()
    assert before.keys() == found.keys()
    for name, value in before.items():
        assert torch.equal(value, found[name]), name

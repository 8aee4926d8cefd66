# Copyright (c) csd_mmrazor developers. All rights reserved.
from collections import Counter
from copy import deepcopy

import helpers
import pytest
import torch
import torch.nn as nn
from torch.utils._python_dispatch import TorchDispatchMode

from csd_mmrazor.models.synthesizers.all_steps import RoundToLevels
from csd_mmrazor.models.synthesizers.observer import observing
from csd_mmrazor.models.utils import to_float16

LASTING = dict(
    labels='none',
    latents='fresh',
    meta=dict(type='LastingGenerator'),
    optimizer_lasts=True,
    losses=dict(loss_bn=dict(type='BNStatisticsLoss')),
)
ASKED = dict(
    losses=dict(
        loss_oh=dict(type='OneHotLoss'),
        loss_bn=dict(type='BNStatisticsLoss'),
    )
)
CROP = dict(augment=dict(type='RandomCropFlip', padding=2))


def synthesizer(**kwargs):
    cfg = dict(batch_size=6, iters=4, keep='all', keep_targets=True)
    return helpers.synthesizer(**(cfg | kwargs))


@pytest.fixture(scope='module')
def networks():
    return helpers.networks()


@pytest.mark.parametrize('augment', [{}, CROP])
@pytest.mark.parametrize('kind', [LASTING, ASKED])
def test_keeps_what_the_teacher_saw_and_said(networks, kind, augment):
    """In one pass a step, and no other."""
    teacher = networks.teachers['teacher']
    seen, said = [], []

    def note(_, args, out):
        seen.append(args[0].detach())
        said.append(out.detach())

    parts = synthesizer(**kind, **augment)
    parts.prepare(networks)  # looks for BN layers, by one pass
    handle = teacher.register_forward_hook(note)
    batch = parts.synthesize(networks, 10, seed=3)
    handle.remove()
    assert len(seen) == 4 == parts.images_of(4) / 6
    images = (torch.cat(seen) * 0.4 + 0.3) * 255
    assert (images - images.round()).abs().max() < 1e-3
    assert torch.equal(batch.images, images.round().byte())
    said = torch.cat(said)
    assert torch.equal(batch.targets, said.half())
    inputs = networks.normalize(batch.images / 255)
    with torch.no_grad():
        again = teacher(inputs, mode='tensor')
    torch.testing.assert_close(
        batch.targets.float(), again, rtol=2**-10, atol=1e-4
    )
    if kind is LASTING:
        assert torch.equal(batch.labels, said.argmax(1))
    else:
        torch.manual_seed(3)
        parts.generator.train()
        assert torch.equal(batch.labels, batch.labels[:6].repeat(4))
        assert torch.equal(batch.labels[:6], batch.labels[:6].sort()[0])


def test_one_augmentation_is_in_the_images(networks):
    """Zeros of the padding are there, as the teacher saw them."""
    losses = ASKED['losses']
    plain, cropped = (
        synthesizer(losses=losses, iters=1, **augment).synthesize(
            networks, 10, seed=0
        )
        for augment in ({}, CROP)
    )
    assert plain.images.min() > 0
    assert (cropped.images == 0).flatten(1).any(1).sum() >= 4


def test_without_targets(networks):
    with_them, without = (
        synthesizer(**LASTING, keep_targets=keep).synthesize(
            networks, 10, seed=1
        )
        for keep in (True, False)
    )
    assert without.targets is None
    assert torch.equal(with_them.images, without.images)
    assert torch.equal(with_them.labels, without.labels)


def test_rounds_that_last_do_not_depend_on_what_is_kept(networks):
    """But for the 256 levels, which the networks see as well."""
    # Adam's steps are as long for any gradient.
    settings = dict(LASTING, iters=3, optimizer=dict(type='SGD', lr=0.01))
    every = synthesizer(**settings)
    last = synthesizer(**settings, keep='last', keep_targets=False)
    every.prepare(networks, 0)
    last.prepare(networks, 0)
    start = deepcopy(every.meta.state())
    for seed in range(2):
        every.synthesize(networks, 10, seed=seed)
        last.synthesize(networks, 10, seed=seed)
    ends = every.meta.state(), last.meta.state()
    trained = [key for key in start if key.endswith(('weight', 'bias'))]
    assert len(trained) > 9
    for key in trained:
        moved = (ends[0][key] - start[key]).norm()
        assert (ends[0][key] - ends[1][key]).norm() < 0.25 * moved, key


class Calls(TorchDispatchMode):
    """Counts what waits for a device, and what allocates bytes."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_its_images(networks):
    counts = []
    for iters in (2, 5):
        # Adam reads its step numbers, which are on the host.
        parts = synthesizer(
            **LASTING, **CROP, optimizer=dict(type='SGD', lr=0.1)
        )
        parts.prepare(networks, 0)
        with Calls() as mode:
            parts.synthesize(networks, 10, seed=0, iters=iters)
        counts.append(mode.calls)
    for name in ('_local_scalar_dense', 'new_empty'):
        assert counts[0][name] == counts[1][name], name
    assert counts[0]['new_empty'] >= 3


@pytest.mark.parametrize('dtype', ['bfloat16', None])
def test_mixed_precision(networks, dtype):
    batch = synthesizer(**LASTING, amp=dtype).synthesize(networks, 10, seed=0)
    assert batch.targets.dtype == torch.float16
    assert batch.images.shape == (24, 1, 8, 8)


def test_levels():
    images = torch.rand(2, 3, 5, 5, requires_grad=True)
    seen = RoundToLevels()(images)
    expected = (
        torch.tensor([round(v * 255) for v in images.flatten().tolist()]) / 255
    )
    torch.testing.assert_close(seen.flatten(), expected)
    seen.square().sum().backward()
    torch.testing.assert_close(images.grad, 2 * seen)


def test_logits_beyond_float16():
    logits = torch.tensor([[1e6, -1e6, 0.1]])
    assert to_float16(logits).tolist() == [[65504, -65504, 0.0999755859375]]


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(keep='every'), "one of .*'all'.* got 'every'"),
        (dict(keep='best'), 'keep_targets=True .* keep="all".*target_views'),
        (dict(keep='last'), 'keep_targets=True .* keep="all".*target_views'),
        (dict(keep_targets=1), 'keep_targets of .* True or False'),
        (dict(keep_targets='yes'), 'keep_targets of .* True or False'),
        (dict(num_images=8), 'num_images=8'),
    ],
)
def test_arguments_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        synthesizer(**{**LASTING, **options})


def test_several_teachers(networks):
    teachers = nn.ModuleDict(
        dict(a=networks.teachers['teacher'], b=networks.student)
    )
    parts = synthesizer(**LASTING)
    with pytest.raises(ValueError, match='keep_targets=True .* are 2'):
        parts.check(networks._replace(teachers=teachers))


def test_classes_that_the_teacher_decides_on(networks):
    """Of each step's images, for losses that ask for classes."""
    said = []
    parts = synthesizer(
        **{**ASKED, **CROP}, labels='teacher', latents='fresh', iters=3
    )
    parts.prepare(networks)
    handle = networks.teachers['teacher'].register_forward_hook(
        lambda _, args, out: said.append(out.detach())
    )
    batch = parts.synthesize(networks, 10, seed=3)
    handle.remove()
    assert torch.equal(batch.labels, torch.cat(said).argmax(1))
    # By hand, of the step that was the best.
    shares = said[batch.step].double().softmax(1)
    expected = -shares.amax(1).log().mean().item()
    assert batch.terms['loss_oh'] == pytest.approx(expected, rel=1e-5)
    with observing(networks, parts.objective.distiller, set()) as observer:
        observation = observer.observe(torch.rand(5, 1, 8, 8), None, None)
        logits = networks.teachers['teacher'](
            networks.normalize(observation.images), mode='tensor'
        )
        assert torch.equal(observation.labels, logits.argmax(1))


@pytest.mark.parametrize('keep', ['best', 'last'])
def test_such_classes_are_those_of_all_steps(keep):
    with pytest.raises(ValueError, match='labels="teacher" .* but got keep='):
        synthesizer(**ASKED, labels='teacher', keep=keep, keep_targets=False)

# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager
from functools import partial

import pytest
import torch
import torch.nn as nn
from helpers import build
from test_image_synthesizer import same, state, synthesizer

from csd_mmrazor.models import Networks
from csd_mmrazor.models.synthesizers import compiled
from csd_mmrazor.models.synthesizers.compiled import (
    CompiledCopy,
    CompiledNetworks,
)


class Classifier(nn.Module):
    """As few layers as there can be: each is compiled for seconds."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, 10)

    def extract_feat(self, inputs, stage):
        return self.bn(self.conv(inputs)).relu().mean((2, 3))

    def forward(self, inputs, mode):
        return self.fc(self.extract_feat(inputs, ''))


@pytest.fixture
def networks():
    teacher, student = Classifier(8), Classifier(4)
    teacher(torch.randn(64, 1, 8, 8), '')  # to have statistics
    head = dict(type='SelfSupervisedAuxHead', num_classes=10, in_channels=4)
    return Networks(teacher.eval(), student, build(head), lambda x: x - 0.3)


@contextmanager
def at_most_compiled(allowed):
    """An error where torch.compile has to compile what is not allowed."""
    if allowed:
        yield
        return
    torch.compiler.set_stance('fail_on_recompile')
    try:
        yield
    finally:
        torch.compiler.set_stance('default')


@pytest.mark.skipif(
    not hasattr(torch.compiler, 'set_stance'), reason='torch is too old'
)
def test_same_images_as_without(networks):
    """One step, so that rounding does not add up; then another student.

    For the other student, and without any, nothing is compiled again.
    """
    plain, compiled = synthesizer(), synthesizer(compile=True)
    before = state(networks)
    for seed, with_student in ((0, True), (1, True), (2, False)):
        with at_most_compiled(seed == 0):
            expected, got = (
                s.synthesize(
                    networks, 10, seed, iters=1, with_student=with_student
                )
                for s in (plain, compiled)
            )
        assert got.terms == pytest.approx(expected.terms, rel=1e-5)
        assert torch.equal(got.labels, expected.labels)
        difference = got.images.int() - expected.images.int()
        # A value on the edge between two levels may fall to either side.
        assert difference.abs().max() <= 1
        assert (difference != 0).float().mean() < 0.01
        # All that has been optimised: gradients are the same.
        for name, param in plain.generator.named_parameters():
            other = compiled.generator.get_parameter(name)
            torch.testing.assert_close(other, param, rtol=0, atol=2e-5)
        networks.student.conv.weight.data.mul_(2)
    assert same(state(networks), before)


class Plain(nn.Sequential):
    """Of nobody's kind."""

    def __init__(self):
        layers = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU()
        super().__init__(*layers, nn.Flatten(), nn.Linear(108, 10))


class Untraceable(Plain):
    def forward(self, inputs):
        if inputs.sum() > 0:
            return super().forward(inputs)
        return super().forward(-inputs)


@pytest.mark.skipif(
    not hasattr(torch.compiler, 'is_compiling'), reason='torch is too old'
)
def test_features_of_any_network(monkeypatch):
    """All of a pass can be traced; into what code is another matter."""
    monkeypatch.setattr(
        torch, 'compile', partial(torch.compile, backend='eager')
    )
    factory = f'{__name__}.Plain'
    model = build(dict(type='TorchClassifier', factory=factory)).eval()
    inputs = torch.randn(2, 1, 8, 8)
    expected = model.extract_feat(inputs)
    copy = CompiledCopy(model, False)
    for scale in (1, 2):
        torch.testing.assert_close(
            copy.extract_feat(scale * inputs, 'pre_logits'),
            model.extract_feat(scale * inputs),
        )
        torch.testing.assert_close(copy(scale * inputs), model(scale * inputs))
        assert not copy.model._seen  # nothing of a pass stays
    images = inputs.clone().requires_grad_()
    found = copy.extract_feat(images, 'pre_logits')
    assert torch.equal(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), images)
    (wanted,) = torch.autograd.grad(model.extract_feat(images).sum(), images)
    torch.testing.assert_close(gradient, wanted)
    factory = f'{__name__}.Untraceable'
    model = build(dict(type='TorchClassifier', factory=factory)).eval()
    message = 'cannot compile Untraceable: .*, in forward.* Set compile=False'
    with pytest.raises(ValueError, match=message):
        CompiledCopy(model, False)(inputs)


def test_says_what_cannot_be_compiled(networks, monkeypatch):
    if not hasattr(torch.compiler, 'is_compiling'):
        with pytest.raises(ValueError, match='torch 2.3 or newer'):
            CompiledNetworks(networks)
        return
    with pytest.raises(ValueError, match='aux_feature="neck"'):
        CompiledNetworks(networks._replace(aux_feature='neck'))
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(ValueError, match='lacks a compiler .no-such-comp'):
        CompiledNetworks(networks)


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
@pytest.mark.parametrize(
    'there, lacking',
    [
        ((), ['Triton', 'a compiler (', "Python's headers"]),
        (('g++', 'gcc'), ['Triton', "Python's headers"]),
        (('Python.h',), ['Triton', 'a compiler (']),
        (('triton', 'Python.h'), ['a compiler (']),
        (('g++', 'clang', 'Python.h'), ['Triton']),
        (('g++', 'gcc', 'Python.h', 'triton'), []),
    ],
)
def test_says_all_that_compilation_lacks(monkeypatch, device, there, lacking):
    for variable in ('CC', 'CXX'):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(
        compiled, 'find_spec', lambda name: name if name in there else None
    )
    monkeypatch.setattr(
        compiled.shutil, 'which', lambda name: name if name in there else None
    )
    monkeypatch.setattr(
        compiled.os.path, 'exists', lambda path: path[-8:] in there
    )
    if device == 'cpu':
        lacking = [what for what in lacking if what != 'Triton']
    try:
        compiled.check_compiler(torch.device(device))
        message = ''
    except ValueError as error:
        message = str(error)
    for what in ('Triton', 'a compiler (', "Python's headers"):
        assert (what in message) == (what in lacking)
    assert bool(message) == bool(lacking)
    assert not message or f'on {device} lacks' in message

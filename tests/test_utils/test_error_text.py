# Copyright (c) csd_mmrazor developers. All rights reserved.
import re

import pytest
import torch
from helpers import build, network
from mmengine.registry import DefaultScope
from mmrazor.registry import HOOKS, MODELS, TASK_UTILS

from csd_mmrazor.utils.error_text import error_text, named_error
from csd_mmrazor.utils.validation import check_validation

# In a file of its own, as pytest writes messages for its tests' assertions.
LIBRARY = """
class Part:
    weights = property(lambda self: 1 / 0)
    size = (3, 4)

    def __init__(self):
        self.size = (3, 4)

    def check(self, number, tensor):
        assert (
            number > 5
            and self.size == 3
            and tensor is None
            and self.weights
        )

class Loud:
    def __repr__(self):
        raise RuntimeError('no text')

def refuse(value):
    assert not value

def refuse_step(data):
    assert len(data) == 7

def fail(value):
    raise value
"""


@pytest.fixture
def library(tmp_path):
    path = tmp_path / 'my/lib/part.py'
    path.parent.mkdir(parents=True)
    path.write_text(LIBRARY)
    found = {}
    exec(compile(LIBRARY, str(path), 'exec'), found)
    return found


def raised(call, *args):
    with pytest.raises(Exception) as info:
        call(*args)
    return info.value


def test_an_assertion_without_words(library):
    error = raised(library['Part']().check, 2, torch.zeros(2, 7))
    assert re.fullmatch(
        r'assert number > 5 and self\.size == 3 and \(?tensor is None\)? and '
        r'self\.weights \(my/lib/part\.py, line 1[1-5], in Part\.check\(\)\)'
        r' with number=2, self\.size=\(3, 4\), '
        r'tensor=<Tensor of shape \(2, 7\)>',
        error_text(error),
    )
    assert named_error(error).startswith('AssertionError: assert number')


def test_of_a_library():
    """As mmpretrain raises it, from a config."""
    error = raised(build, network(num_stages=7))
    assert re.match(
        r'assert num_stages >= 1 and num_stages <= 4 \(models/backbones/'
        r'resnet\w*\.py, line \d+, in ResNet_CIFAR\.__init__\(\)\) with '
        r'num_stages=7$',
        error_text(error),
    )


@pytest.mark.parametrize(
    'value, text',
    [
        (ValueError('as it says'), 'as it says'),
        (KeyError('key'), 'key'),
        (NotImplementedError(), r'raise value \(my/.*, in fail\(\)\)'),
        (KeyError(), r'raise value \(my/.*, in fail\(\)\)'),
        (AssertionError('  '), r'raise value \(my/.*, in fail\(\)\)'),
    ],
)
def test_others(value, text, library):
    assert re.fullmatch(text, error_text(raised(library['fail'], value)))
    assert error_text(ValueError()) == ''  # raised by nobody


def test_code_without_a_file():
    code = compile('assert 1 > 2', '<input>', 'exec')
    error = raised(exec, code, {})
    assert error_text(error) == ' (<input>, line 1, in <module>())'


@pytest.mark.parametrize('bad', ['a' * 10_000, list(range(10_000))])
def test_values_are_cut_short(bad, library):
    text = error_text(raised(library['refuse'], bad))
    assert ' with value=' in text and len(text) < 300


def test_values_that_cannot_be_shown(library):
    loud = library['Loud']()
    assert 'value=<Loud>' in error_text(raised(library['refuse'], loud))
    text = error_text(raised(library['refuse'], [loud]))
    assert 'value=[<Loud instance at' in text


def test_where_it_is_used(tiny_runner, library, monkeypatch):
    runner = tiny_runner()
    monkeypatch.setattr(runner.model, 'val_step', library['refuse_step'])
    message = r'AssertionError: assert len\(data\) == 7 \(my/lib/part\.py, l'
    with pytest.raises(ValueError, match=message):
        check_validation(runner)


@pytest.mark.parametrize(
    'registry, cfg, text',
    [
        (
            MODELS,
            dict(type='OneHotLoss', loss_weigth=1),
            "OneHotLoss has no argument 'loss_weigth'. Did you mean "
            "'loss_weight'? It has loss_weight.",
        ),
        (
            HOOKS,
            dict(type='SynthesisHook', synthesizer={}, init_round=3),
            "SynthesisHook has no argument 'init_round'. Did you mean "
            "'init_rounds'? It has ",
        ),
        # Of the class that it is derived from.
        (
            TASK_UTILS,
            dict(type='FeatureMapRecorder', sorce='head'),
            "Did you mean 'source'? It has source.",
        ),
        # Of what it passes them on to.
        (
            MODELS,
            dict(
                type='TorchClassifier',
                factory='torch.nn.Linear',
                **dict(in_features=2, out_features=2, biass=True),
            ),
            "Linear.__init__() got an unexpected keyword argument 'biass'",
        ),
    ],
)
def test_misspelt_arguments(registry, cfg, text):
    with DefaultScope.overwrite_default_scope('mmrazor'):
        assert text in error_text(raised(registry.build, cfg))


def test_an_argument_that_is_passed_on():
    """What builds it is not to blame, but a call within it."""
    error = raised(lambda: int(loss_weigth=3))
    assert error_text(error) == str(error)

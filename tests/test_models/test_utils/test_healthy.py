# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

import pytest
import torch
import torch.nn as nn
from helpers import build, network
from mmengine.runner.checkpoint import load_checkpoint

from csd_mmrazor.models import Networks
from csd_mmrazor.models.utils import (
    check_statistics,
    check_weights,
    evaluating,
)

CONV = 'backbone.layer1.0.conv1.weight'
BN = 'backbone.layer1.0.bn1'
NAN, INF = float('nan'), float('inf')


@pytest.fixture
def model(teacher_file):
    model = build(network(base_channels=8))
    load_checkpoint(model, str(teacher_file))
    return model.eval()


def spoil(model, name, value, whole=False):
    values = model.state_dict()[name]
    values.view(-1)[slice(None) if whole else 0] = value


@pytest.mark.parametrize('whole', [False, True])
@pytest.mark.parametrize(
    'name, value, what',
    [
        (CONV, NAN, 'NaN or infinite'),
        (CONV, -INF, 'NaN or infinite'),
        ('head.fc.bias', INF, 'NaN or infinite'),
        (f'{BN}.weight', NAN, 'NaN or infinite'),
        (f'{BN}.running_mean', INF, 'NaN or infinite'),
        (f'{BN}.running_var', NAN, 'NaN or infinite'),
        (f'{BN}.running_var', -1e-3, 'negative'),
    ],
)
def test_weights_that_no_training_leaves(model, name, value, what, whole):
    check_weights(model, 'teacher "t"')
    spoil(model, name, value, whole)
    with pytest.raises(ValueError, match=what) as error:
        check_weights(model, 'teacher "t"')
    text = str(error.value)
    assert 'teacher "t" (ImageClassifier)' in text and f'"{name}"' in text
    assert 'another checkpoint' in text


@pytest.mark.parametrize('dtype', [torch.float16, torch.float64])
def test_other_values_are_left_alone(dtype):
    model = nn.Sequential(nn.LazyLinear(3), nn.BatchNorm1d(3).to(dtype))
    model.register_buffer('mask', torch.tensor([0, -INF]))
    model.register_buffer('index', torch.tensor([-1]))
    model.register_buffer('empty', torch.empty(2, device='meta'))
    check_weights(model, 'it')
    model.mask[0] = NAN
    with pytest.raises(ValueError, match='it .* 1 NaN of 2 .* "mask"'):
        check_weights(model, 'it')


@pytest.mark.parametrize('whole', [False, True])
def test_a_variance_of_0_where_the_channel_varies(model, whole):
    inputs = torch.randn(2, 1, 8, 8)
    assert check_statistics(model, inputs, 'it') == []
    spoil(model, f'{BN}.running_var', 0, whole)
    number = 8 if whole else 1
    with pytest.raises(ValueError, match=f'{number} of 8 channels') as error:
        check_statistics(model, inputs, 'teacher "t"')
    assert 'teacher "t" (ImageClassifier)' in str(error.value)
    assert f'"{BN}.running_var"' in str(error.value)
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_a_variance_of_0_in_a_channel_that_is_pruned(model):
    spoil(model, CONV, 0, whole=True)
    spoil(model, f'{BN}.running_mean', 0, whole=True)
    spoil(model, f'{BN}.running_var', 0, whole=True)
    assert check_statistics(model, torch.randn(2, 1, 8, 8), 'it') == []


def test_layers_that_never_saw_a_batch_are_listed():
    model, inputs = build(network()), torch.randn(2, 1, 8, 8)
    with evaluating(model):
        assert 'backbone.bn1' in check_statistics(model, inputs, 'it')
    model.train()(inputs, mode='tensor')
    with evaluating(model):
        assert check_statistics(model, inputs, 'it') == []


@pytest.mark.parametrize(
    'name, value, what',
    [
        (CONV, NAN, 'NaN or infinite'),
        (f'{BN}.running_var', -1, 'negative'),
        (f'{BN}.running_var', 0, 'a running variance of 0'),
    ],
)
@pytest.mark.parametrize('role', ['teacher', 'student'])
def test_said_before_any_image_is_made(
    tiny_runner, teacher_file, tmp_path, model, role, name, value, what
):
    spoil(model, name, value, whole=True)
    path = tmp_path / 'spoilt.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    options = {'model.teachers.teacher.ckpt_path': str(path)}
    if role == 'student':
        options = {
            'model.student_ckpt': str(path),
            'model.architecture': network(base_channels=8),
        }
    with pytest.raises(ValueError, match=what) as error:
        tiny_runner(**options).train()
    who = 'teacher "teacher"' if role == 'teacher' else 'the student'
    assert who in str(error.value) and f'"{name}"' in str(error.value)
    assert not (tmp_path / 'run/bank').exists()


def test_a_teacher_that_was_never_trained_is_told(tiny_runner, teacher_file):
    options = {'model.teachers.teacher.ckpt_path': 'none'}
    for expected, changes in ((True, options), (False, {})):
        runner = tiny_runner(f'run{expected}', **changes)
        runner.call_hook('before_run')
        hook = next(h for h in runner.hooks if hasattr(h, 'synthesizer'))
        hook.synthesizer.check(Networks.from_algorithm(runner.model))
        log = next(Path(runner.work_dir).rglob('*.log')).read_text()
        told = 'teacher "teacher" (ImageClassifier) was never trained' in log
        assert told == expected

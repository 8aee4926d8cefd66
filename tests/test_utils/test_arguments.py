# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Types of arguments, in every registry."""

import functools
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import mmrazor.registry as registries
import numpy as np
import pytest
import torch
from helpers import network
from mmengine.config import ConfigDict
from mmengine.registry import HOOKS, OPTIMIZERS, PARAM_SCHEDULERS
from mmrazor.registry import MODELS

from csd_mmrazor.export import image_shape_of
from csd_mmrazor.utils.arguments import (
    NoneType,
    argument_types,
    check_arguments,
    check_image_shape,
    check_integer,
    check_positive,
    check_probability,
    fits,
    kinds_of,
)


@pytest.mark.parametrize(
    'annotation, kinds',
    [
        (bool, (bool,)),
        (Optional[int], (int, NoneType)),
        (Union[float, Sequence[float]], (float, list)),
        (Union[Dict, List[Dict], None], (dict, list, NoneType)),
        (Union[float, torch.Tensor], None),
        (Any, None),
        (None, None),
    ],
)
def test_kinds_of(annotation, kinds):
    found = kinds_of(annotation)
    assert found is None if kinds is None else set(found) == set(kinds)


@pytest.mark.parametrize(
    'kind, right, wrong',
    [
        (bool, [True, False], ['no', 1, None, 0.0, []]),
        (int, [0, -3], [True, 1.5, '1', None, [1], math.nan]),
        (float, [1, 0.5], [True, '1e-3', None, [1], math.nan, math.inf]),
        (str, ['a', Path('a')], [1, None, ['a'], True]),
        (dict, [{}, object()], [None, 'a', 1, [], ()]),
        (list, [[], (), 1.5], [None, 'a', {}, True]),
    ],
)
def test_fits(kind, right, wrong):
    assert all(fits(value, kind) for value in right)
    assert not any(fits(value, kind) for value in wrong)


def ours():
    """Every registered part of this project, once."""
    found = {}
    for registry in vars(registries).values():
        for part in getattr(registry, 'module_dict', {}).values():
            if str(getattr(part, '__module__', '')).startswith('csd_mmrazor'):
                found[part.__name__] = part
    return found.values()


SWITCHES = [
    (part, name)
    for part in ours()
    for name, kinds in argument_types(part).items()
    if kinds == (bool,)
]


def test_there_are_switches():
    assert {'keep_targets', 'normalize', 'reset_aux_head', 'agreed_only'} <= {
        name for _, name in SWITCHES
    }


@pytest.mark.parametrize('value', ['no', 'off', 'yes', 'True1'])
@pytest.mark.parametrize(
    'part, name', SWITCHES, ids=[f'{p.__name__}.{n}' for p, n in SWITCHES]
)
def test_no_switch_takes_words(part, name, value):
    with pytest.raises(ValueError, match=f'{name} of {part.__name__} .* True'):
        check_arguments(part, {name: value})
    check_arguments(part, {name: True})


@pytest.mark.parametrize('value', ['8GB', math.nan, [1, 2], {}, True])
def test_no_number_of_ours_is_anything_else(value):
    """None is right where it means something."""
    tried = 0
    for part in ours():
        for name, kinds in argument_types(part).items():
            if kinds and float in kinds and bool not in kinds:
                with pytest.raises(ValueError, match=f'{name} of'):
                    check_arguments(part, {name: value})
                tried += 1
    assert tried > 10


@pytest.mark.parametrize(
    'registry, cfg, said',
    [
        (OPTIMIZERS, dict(type='SGD', lr='abc'), 'lr of SGD'),
        (OPTIMIZERS, dict(type='SGD', lr=None), 'lr of SGD'),
        (OPTIMIZERS, dict(type='SGD', lr=[0, 1]), 'lr of SGD'),
        (OPTIMIZERS, dict(type='Adam', lr=math.nan), 'lr of Adam'),
        (OPTIMIZERS, dict(type='SGD', weight_decay='a'), 'weight_decay'),
        (OPTIMIZERS, dict(type='SGD', nesterov='no'), 'nesterov of SGD'),
        (
            PARAM_SCHEDULERS,
            dict(type='CosineAnnealingLR', T_max='x'),
            'T_max of CosineAnnealingLR',
        ),
        (HOOKS, dict(type='LoggerHook', interval='a'), 'interval of Logger'),
        (HOOKS, dict(type='CheckpointHook', by_epoch='no'), 'by_epoch of'),
        (
            registries.DATASETS,
            dict(type='mmrazor.ImageBank', memory_limit='8GB'),
            "memory_limit of ImageBank .* '8GB'",
        ),
        (
            registries.MODELS,
            dict(_scope_='mmrazor', type='CSDLoss', loss_weight=math.nan),
            'loss_weight of CSDLoss',
        ),
    ],
)
def test_registries_check_what_they_build(registry, cfg, said):
    with pytest.raises(ValueError, match=said):
        registry.build(cfg)


def test_what_is_right_is_built():
    weight = torch.nn.Parameter(torch.zeros(1))
    for lr in (1, 0.5, torch.tensor(0.5)):
        OPTIMIZERS.build(dict(type='Adam', lr=lr, params=[weight]))
    OPTIMIZERS.build(dict(type='SGD', lr=1, foreach=None, params=[weight]))
    HOOKS.build(dict(type='CheckpointHook', interval=1, save_best='auto'))
    HOOKS.build(dict(type='LoggerHook', interval=10))


@pytest.mark.parametrize(
    'check, right, wrong, said',
    [
        (
            check_integer,
            [1, 7, np.int64(2)],
            [0, -1, 1.0, True, '3', None, math.nan],
            'should be a positive integer',
        ),
        (
            functools.partial(check_integer, lowest=0),
            [0, 1],
            [-1, 0.0, False],
            'should be an integer, 0 or more',
        ),
        (
            check_positive,
            [1e-9, 3, np.float32(2)],
            [0, -1.0, math.nan, math.inf, True, '1', None],
            'should be a number above 0',
        ),
        (
            check_probability,
            [0, 1, 0.5],
            [-0.1, 1.1, math.nan, True, '0.5', None],
            'should be between 0 and 1',
        ),
    ],
)
def test_numbers_in_their_range(check, right, wrong, said):
    for value in right:
        check('it', value)
    for value in wrong:
        with pytest.raises(ValueError) as error:
            check('it of Part', value)
        assert str(error.value) == f'it of Part {said}, but got {value!r}.'


@pytest.mark.parametrize(
    'part, arguments, said',
    [
        ('CSDGenerator', dict(img_size=True), 'a positive integer'),
        ('PixelGenerator', dict(img_size=0), 'a positive integer'),
        (
            'SelfSupervisedAuxHead',
            dict(num_classes=0, in_channels=3),
            'a positive integer',
        ),
        ('ContrastiveLoss', dict(embed_dim=0), 'a positive integer'),
        ('ContrastiveLoss', dict(memory_size=-1), 'an integer, 0 or more'),
        ('ContrastiveLoss', dict(tau=0), 'a number above 0'),
        ('CompetitionLoss', dict(tau=math.inf), 'a number above 0'),
        ('RandomCropFlip', dict(padding=-1), 'an integer, 0 or more'),
        ('RandomCropFlip', dict(flip_prob=2), 'between 0 and 1'),
        ('RandomResizedCropFlip', dict(flip_prob=-1), 'between 0 and 1'),
    ],
)
def test_parts_check_their_numbers_when_built_by_hand(part, arguments, said):
    """Without a registry, which looks at the types alone."""
    name = [*arguments][-1] if part != 'SelfSupervisedAuxHead' else 'num_class'
    with pytest.raises(ValueError, match=f'{name}.* of {part} .* {said}'):
        MODELS.get(part)(**arguments)


def test_shapes_of_images():
    for shape in ((3, 8, 9), [1, 1, 1], (np.int64(3), 8, 8)):
        check_image_shape('it', shape)
    for shape in (5, '388', (3, 8), [0, 8, 8], (1, 8, 8.0), (1, '8', 8), {}):
        with pytest.raises(ValueError, match=r'it should be \(C, H, W\),'):
            check_image_shape('it', shape)
    with pytest.raises(ValueError, match='it=.* has more than 134,217,728'):
        check_image_shape('it', (3, 10**5, 10**5))


@pytest.mark.parametrize('shape', [5, (1, 8), (1, 8, 8.0)])
def test_parts_of_a_config_that_say_the_shape(shape):
    found = ConfigDict(model=dict(image_shape=shape))
    with pytest.raises(ValueError, match='image_shape of the config should'):
        image_shape_of(found)
    with pytest.raises(ValueError, match='image_shape of CSDDistillation sh'):
        MODELS.get('CSDDistillation')(network(), {}, image_shape=shape)


def test_a_blank_image_at_least():
    with pytest.raises(ValueError, match='length of DummyImages .* positive'):
        registries.DATASETS.get('DummyImages')(length=0)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Warnings that name arguments of distill()."""

import inspect
import re
from dataclasses import fields

import pytest

from csd_mmrazor import distill
from csd_mmrazor.api.argument_names import (
    _ARGUMENTS,
    of_arguments,
    with_arguments,
)
from csd_mmrazor.api.config import METHODS
from csd_mmrazor.api.schedule import Schedule


@pytest.mark.parametrize(
    'text, added',
    [
        (
            'Raise init_iters of SynthesisHook or the weight of loss_oh.',
            'schedule=dict(init_iters=...), loss_weights=dict(oh=...)',
        ),
        ('Check model.data_preprocessor.', 'mean=..., std=...'),
        ('Give more steps (iters).', 'schedule=dict(iters=...)'),
        ('Lower a.optimizer.lr.', 'schedule=dict(lr=...)'),
        ('Half of train_cfg.max_epochs.', 'budget=...'),
        ('The student is at 3 %.', None),
        ('Lower optimizer.lr (lr in the schedule of distill()).', None),
        ('my_loss_oh, loss_ohm, max_iters, iterspace', None),
    ],
)
def test_what_is_added(text, added):
    expected = text
    if added:
        expected += f' As arguments of distill(): {added}.'
    assert with_arguments(text) == expected


@pytest.mark.parametrize(
    'text, expected',
    [
        ('check model.architecture.', 'check student.'),
        (
            'x, or lower optim_wrapper.architecture.optimizer.lr=1e+38 and '
            'optim_wrapper.aux_head.optimizer.lr=0.1.',
            'x, or lower schedule=dict(lr=1e+38).',
        ),
        (
            "check model.distiller.distill_losses.loss_kd={'tau': 3}, or",
            'check loss_weights=dict(kd=...), or',
        ),
        (
            'Lower train_dataloader.batch_size, or batch_size of the '
            'synthesizer.',
            'Lower schedule=dict(batch=...), or '
            'schedule=dict(synthesis_batch=...).',
        ),
    ],
)
def test_errors_of_a_config(text, expected):
    assert of_arguments(text) == expected


def test_there_are_such_arguments():
    known = {
        'schedule': {field.name for field in fields(Schedule)},
        'loss_weights': {
            name[5:] for losses in METHODS.values() for name in losses
        },
    }
    for argument in _ARGUMENTS.values():
        for name in re.findall(r'(?:^|, )(\w+)=', argument):
            assert name in inspect.signature(distill).parameters
        for name, field in re.findall(r'(\w+)=dict\((\w+)=', argument):
            assert field in known[name]


def test_a_run_names_them(teacher, net, call):
    """In what it gives, and in its log."""
    run = call(teacher, net(4), budget=3, val=None)
    (text,) = (w for w in run.warnings if 'initial images for another' in w)
    assert text.count('schedule=dict(init_iters=...)') == 1
    (log,) = run.work_dir.glob('*/*.log')
    assert text in log.read_text()

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Warnings and errors that name arguments of distill()."""

import inspect
import re
from dataclasses import fields

import pytest

from csd_mmrazor import distill
from csd_mmrazor.api.argument_names import (
    _NAMES,
    naming_arguments,
    of_arguments,
    typed_as,
)
from csd_mmrazor.api.config import METHODS
from csd_mmrazor.api.distill_runner import DistillRunner
from csd_mmrazor.api.schedule import Schedule
from csd_mmrazor.report.advice import advise

# What nobody who calls distill() has seen, and what it does not take.
OF_CONFIGS = re.compile(
    r'Hook\b|Synthesizer|synthesizer|optim_wrapper|_dataloader|train_cfg|'
    r'\bmodel\.|\bloss_(?!weights)|--\w|(?<![(\w])init_\w+|\(iters\)|clip_grad'
)


@pytest.mark.parametrize(
    'text, expected',
    [
        ('check model.architecture.', 'check student.'),
        ('and order of model.data_preprocessor.', 'and order.'),
        (
            'by None in place of the recorder, such as '
            'model.distiller.student_recorders.feature=None.',
            'by loss_weights=dict(feature=0).',
        ),
        ('here: train_cfg.augments, Mixup', 'here: augments, Mixup'),
        (
            'the cross entropy; to change it, set model.student_loss)',
            'the cross entropy)',
        ),
        (
            'Set val_dataloader.dataset.metainfo=dict(classes=[...]) to all',
            'give classes=[...] to all',
        ),
        (
            'loss_oh, loss_bn of the synthesis became NaN in step 1. Lower '
            "the learning rate of the synthesizer's optimizer or the weight "
            'of that term. All failed; --resume starts with this.',
            'loss_oh, loss_bn of the synthesis became NaN in step 1. Lower '
            'loss_weights=dict(bn=...). All failed; the same call starts with '
            'this.',
        ),
        (
            'is NaN. Set optim_wrapper.architecture.clip_grad='
            'dict(max_norm=5) and --resume from it, or start again with a '
            'lower optim_wrapper.architecture.optimizer.lr.',
            'is NaN. Start again with a lower schedule=dict(lr=...), in '
            'another work_dir.',
        ),
        (
            'is NaN. The checkpoint before it is complete. Set optim_wrapper.'
            'architecture.clip_grad=dict(max_norm=5) and --resume from it, or '
            'start again with a lower optim_wrapper.architecture.optimizer.lr '
            'or optim_wrapper.aux_head.optimizer.lr.',
            'is NaN. Start again with a lower schedule=dict(lr=...), in '
            'another work_dir.',
        ),
        (
            'Start again with a lower optim_wrapper.architecture.optimizer.'
            'lr.',
            'Start again with a lower schedule=dict(lr=...), in another '
            'work_dir.',
        ),
        (
            'loss_oh, loss_patch, loss_tv of the synthesis became NaN in step '
            "1. Lower the learning rate of the synthesizer's optimizer or the "
            'weight of that term.',
            'loss_oh, loss_patch, loss_tv of the synthesis became NaN in step '
            '1. Lower loss_weights=dict(oh=...).',
        ),
        ('my_loss_oh, loss_ohm, max_iters', 'my_loss_oh, loss_ohm, max_iters'),
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
def test_messages_of_a_config(text, expected):
    assert of_arguments(text) == expected


FALLING = {epoch: 90.0 - epoch for epoch in range(1, 12)}


@pytest.mark.parametrize(
    'about, advice',
    [
        ('chance', advise({1: 9, 2: 9, 3: 9}, {}, num_classes=10)),
        (
            'chance',
            advise({1: 9, 2: 9, 3: 9}, {}, num_classes=10, teacher_top1=90),
        ),
        (
            'chance',
            advise({}, {}, num_classes=10, agreement={1: 9, 2: 9, 3: 9}),
        ),
        ('collapse', advise({1: 90, 2: 20}, {})),
        ('stall', advise(FALLING, {})),
        ('recognised', advise({}, {0: 90, 1: 9, 2: 9})),
        ('recognised', advise({}, {0: 9, 1: 9, 2: 9})),
        ('initial', advise({}, {}, initial=9)),
    ],
)
def test_advice_to_a_caller(about, advice):
    """All that there is, as ``StallHook`` logs it."""
    assert not OF_CONFIGS.search(of_arguments(advice[about]))


def test_only_texts_of_errors_change():
    for given, expected in (
        (ValueError('a --work-dir'), ('a work_dir',)),
        (OSError(2, 'a --work-dir'), (2, 'a --work-dir')),
        (KeyError(3), (3,)),
    ):
        with pytest.raises(type(given)) as caught, naming_arguments():
            raise given
        assert caught.value is given and given.args == expected


def test_errors_of_the_system_name_them():
    with pytest.raises(OSError, match=r'^\[Errno 17\] .*another --out: ./x'):
        with typed_as(lambda text: text.replace('work_dir', '--out')):
            raise OSError(17, 'It is a file: choose another work_dir', '/x')


def test_there_are_such_arguments():
    known = {
        'schedule': {field.name for field in fields(Schedule)},
        'loss_weights': {
            *(name[5:] for losses in METHODS.values() for name in losses),
            *('ce', 'feature'),
        },
    }
    for argument in _NAMES.values():
        for name in re.findall(
            r'([a-z_]+)=', re.sub(r'\(.*?\)', '', argument)
        ):
            assert name in inspect.signature(distill).parameters
        for name, field in re.findall(r'(\w+)=dict\((\w+)=', argument):
            assert field in known[name]


def test_a_run_names_them(teacher, net, call, monkeypatch):
    """In what it raises and gives, and in its log."""

    def diverge(self):
        raise FloatingPointError('Set a lower train_dataloader.batch_size.')

    with monkeypatch.context() as patch:
        patch.setattr(DistillRunner, 'train', diverge)
        with pytest.raises(FloatingPointError, match=r'dict\(batch='):
            call(teacher, net(4), budget=3, val=None)
    with typed_as(lambda text: text.replace('=', ' ')):
        run = call(teacher, net(4), budget=3, val=None)
    (text,) = (w for w in run.warnings if 'initial images for another' in w)
    assert 'or raise schedule dict(init_iters ...) or loss_weights' in text
    assert not any(OF_CONFIGS.search(each) for each in run.warnings)
    log = max(run.work_dir.glob('*/*.log'))  # the failed call has one, too
    assert text in log.read_text()

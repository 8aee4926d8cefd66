# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import logging

import pytest
from mmengine.hooks import Hook

from csd_mmrazor.engine.hooks import stall_hook
from csd_mmrazor.report import write_report


class Course(Hook):
    """Makes a run go as a test wants it to, where it is logged."""

    def __init__(self, top1, recognised):
        self.top1, self.recognised = top1, recognised

    def before_train_epoch(self, runner):
        if self.recognised:
            self.log(runner, 'synthesis/teacher_top1', self.recognised)

    def after_val_epoch(self, runner, metrics=None):
        if self.top1:
            self.log(runner, 'accuracy/top1', self.top1, 1)

    # After the logger.
    priority = 'VERY_LOW'

    def log(self, runner, tag, values, offset=0):
        value = values[min(runner.epoch - offset, len(values) - 1)]
        runner.visualizer.add_scalars({tag: value}, step=runner.epoch)


@pytest.fixture
def warnings_of(tiny_runner):
    def train(course, **options):
        runner = tiny_runner(
            **{
                'train_cfg.max_epochs': 8,
                'default_hooks.synthesis.grid_images': 0,
                'train_dataloader.sampler.num_samples': 16,
                'default_hooks.report.images': 0,
                **options,
            }
        )
        if course:
            runner.register_hook(course)
        found = []

        class Handler(logging.Handler):
            def emit(self, record):
                if record.levelno == logging.WARNING:
                    found.append((runner.epoch, record.getMessage()))

        runner.logger.addHandler(Handler())
        runner.train()
        return runner, found

    return train


def epochs_of(found, words):
    return [epoch for epoch, text in found if words in text]


def test_warnings_come_when_they_are_due_and_once(warnings_of):
    top1 = [50.0, 60.0, 20.0, 25.0, 70.0, 15.0, 71.0, 72.0]
    recognised = [95.0, 94.0, 93.0, 20.0, 4.0, 4.0, 90.0, 90.0]
    runner, found = warnings_of(Course(top1, recognised))
    # Again if it happens again.
    assert epochs_of(found, 'The accuracy fell from') == [3, 6]
    assert epochs_of(found, 'recognises fell from 95.0 %') == [4]
    assert not epochs_of(found, 'close to chance')
    # Of an untrained teacher, in two steps; said once, where they are made.
    initial = [e for e, t in found if 'teacher' in t and 'initial' in t]
    assert initial == [0]
    # All is well at the end; the log has what was not.
    page = write_report([runner.work_dir]).read_text()
    assert 'The accuracy fell from' in page.partition('Warnings of the')[2]
    assert 'accuracy fell' not in page.partition('Warnings of the')[0]


@pytest.mark.parametrize('teacher, epochs', [(95.0, [6]), (80.5, [])])
def test_a_stall(warnings_of, monkeypatch, teacher, epochs):
    monkeypatch.setattr(stall_hook, 'answers_top1', lambda *_: teacher)
    _, found = warnings_of(Course([80.0, *[79.0] * 7], [95.0]))
    assert epochs_of(found, 'accuracy has not risen') == epochs


def test_without_a_local_log_nothing_is_said(warnings_of):
    backends = [dict(type='TensorboardVisBackend')]
    runner, found = warnings_of(
        None,
        **{
            'visualizer.vis_backends': backends,
            'vis_backends': backends,
            'train_cfg.max_epochs': 2,
        },
    )
    assert runner.epoch == 2
    assert not epochs_of(found, 'teacher recognised less')
    assert not epochs_of(found, 'fell')
    # A person reads them there.
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(
        f'{runner.log_dir}/vis_data',
        size_guidance=dict(scalars=0, images=0),
    ).Reload()
    tags = set(events.Tags()['scalars'])
    assert tags >= {
        'accuracy/top1',
        'aux/top1',
        'initial/teacher_top1',
        'synthesis/teacher_top1',
        'synthesis/bank_diversity',
        'time/student',
        'loss',
    }
    top1 = events.Scalars('accuracy/top1')
    assert [event.step for event in top1] == [1, 2]
    text = write_report([runner.work_dir]).read_text()
    assert 'Curves: there is no' in text


def test_both_backends_say_the_same(warnings_of):
    backends = [
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ]
    runner, _ = warnings_of(
        None,
        **{
            'visualizer.vis_backends': backends,
            'train_cfg.max_epochs': 2,
            'default_hooks.synthesis.grid_images': 4,
        },
    )
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(
        f'{runner.log_dir}/vis_data',
        size_guidance=dict(scalars=0, images=0),
    ).Reload()
    path = f'{runner.log_dir}/vis_data/scalars.json'
    lines = [json.loads(line) for line in open(path)]  # noqa: SIM115
    for tag in ('accuracy/top1', 'synthesis/aux_loss', 'time/synthesis'):
        local = {v['step']: v[tag] for v in lines if tag in v}
        there = {e.step: e.value for e in events.Scalars(tag)}
        assert there == pytest.approx(local)
    assert {'initial', 'synthesis'} <= set(events.Tags()['images'])

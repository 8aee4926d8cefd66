# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

import mmrazor.models  # noqa: F401  registers hooks
import numpy as np
import pytest
import torch
from helpers import ROOT
from mmengine.evaluator import Evaluator
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import CheckpointLoader
from mmpretrain.registry import HOOKS as PRETRAIN_HOOKS
from mmrazor.registry import HOOKS as RAZOR_HOOKS

from csd_mmrazor.engine.hooks.hook_states import (
    check_hook_states,
    hook_states,
    load_hook_states,
)
from csd_mmrazor.utils import CheckpointError

KEEP = {'default_hooks.checkpoint.max_keep_ckpts': 9}


def resumed(make, epoch, **options):
    runner = make(**options)
    runner._load_from = f'{runner.work_dir}/epoch_{epoch}.pth'
    runner._resume = True
    return runner


def test_early_stopping_counts_on(tiny_runner):
    patient = dict(
        type='EarlyStoppingHook',
        monitor='accuracy/top1',
        min_delta=1000,  # nothing is an improvement after the first
        patience=2,
    )
    options = {**KEEP, 'custom_hooks': [patient], 'train_cfg.max_epochs': 6}
    whole = tiny_runner(**options)
    whole.train()
    assert whole.epoch == 3
    again = resumed(tiny_runner, 2, **options)
    again.train()
    assert again.epoch == 3
    states = [
        hook_states([hook])
        for runner in (whole, again)
        for hook in runner.hooks
        if isinstance(hook, EarlyStoppingHook)
    ]
    assert states[0] == states[1]
    assert states[0]['EarlyStoppingHook']['wait_count'] == 2


@HOOKS.register_module()
class Steps(Hook):
    """A stranger's hook that knows how many steps there were."""

    def __init__(self, of=int):
        self.steps, self.of = 0, of

    def after_train_iter(self, runner, *args, **kwargs):
        self.steps += 1

    def state_dict(self):
        return dict(steps=self.of(self.steps))

    def load_state_dict(self, state):
        self.steps = state['steps']


@HOOKS.register_module()
class Validations(Steps):
    """A stranger's hook that counts them before a best one is saved."""

    def after_train_iter(self, runner, *args, **kwargs):
        pass

    def after_val_epoch(self, runner, metrics=None):
        self.steps += 1


def test_a_validation_is_counted_once(tiny_runner, monkeypatch):
    """Also that of a best checkpoint, which is saved once more after it."""
    runners = []
    # Each is the best so far, and by too little for the schedule.
    monkeypatch.setattr(
        Evaluator,
        'evaluate',
        lambda *_: {'accuracy/top1': 10.0 + runners[-1].epoch},
    )
    options = {
        **KEEP,
        'train_cfg.max_epochs': 3,
        'custom_hooks': [dict(type='mmengine.Validations')],
        'param_scheduler.architecture': dict(
            _delete_=True,
            type='ReduceOnPlateauLR',
            monitor='accuracy/top1',
            rule='greater',
            threshold=1000,  # nothing is better after the first
            patience=0,
        ),
    }
    for epoch in (None, 2):
        runners.append(resumed(tiny_runner, epoch, **options))
        if epoch is None:
            runners[-1]._load_from, runners[-1]._resume = None, False
        runners[-1].train()
    counted, plateaus = [], []
    for runner in runners:
        counted += [h.steps for h in runner.hooks if type(h) is Validations]
        plateaus += runner.param_schedulers['architecture']
    assert counted == [3, 3]
    found = [
        (each.num_bad_epochs, each.optimizer.param_groups[0]['lr'])
        for each in plateaus
    ]
    assert found[0] == found[1]
    assert found[0][1] < 0.1
    weights = [runner.model.state_dict() for runner in runners]
    assert all(weights[0][key].equal(weights[1][key]) for key in weights[0])


def test_states_that_are_known_in_training_alone():
    hook = Steps()
    del hook.steps  # as if it were set in before_train
    check_hook_states([hook])


def test_hooks_with_a_state_dict(tiny_runner):
    options = {**KEEP, 'custom_hooks': [dict(type='mmengine.Steps')] * 2}
    tiny_runner(**options).train()
    again = resumed(tiny_runner, 1, **options)
    again.train()
    steps = [hook.steps for hook in again.hooks if isinstance(hook, Steps)]
    assert steps == [6, 6]
    path = Path(again.work_dir, 'epoch_2.pth')
    saved = CheckpointLoader.load_checkpoint(str(path))['hooks']
    assert saved == {'Steps': dict(steps=6), 'Steps.2': dict(steps=6)}


def test_what_a_checkpoint_cannot_hold_is_told_before_work(tiny_runner):
    runner = tiny_runner()
    runner.register_hook(Steps(of=lambda steps: Path('a')))
    with pytest.raises(TypeError, match=r"Steps.state_dict\(\)\['steps'\]"):
        runner.train()
    assert not list(Path(runner.work_dir, 'bank').glob('*.npy'))


def test_states_are_plain_and_come_back():
    hooks = [
        EarlyStoppingHook('a', rule='greater'),
        EarlyStoppingHook('b', rule='less', patience=7),
        Hook(),
    ]
    hooks[0].best_score = np.float64(0.25)
    hooks[1].wait_count, hooks[1].best_score = 3, torch.tensor(2.0)
    states = hook_states(hooks)
    assert states['EarlyStoppingHook'] == dict(wait_count=0, best_score=0.25)
    assert type(states['EarlyStoppingHook']['best_score']) is float
    others = [
        EarlyStoppingHook('a', rule='greater'),
        EarlyStoppingHook('b', rule='less'),
    ]
    load_hook_states(others, states)
    assert others[0].best_score == 0.25
    assert (others[1].wait_count, others[1].best_score) == (3, 2)
    load_hook_states(others, {})  # of an older version
    assert others[1].wait_count == 3


@pytest.mark.parametrize(
    'state',
    [None, 3, {}, dict(wait_count=1), dict(wait_count='1', best_score=0.5)],
)
def test_states_that_were_altered(state):
    hook = EarlyStoppingHook('a', rule='greater')
    with pytest.raises(ValueError, match='The state of EarlyStoppingHook'):
        load_hook_states([hook], dict(EarlyStoppingHook=state))
    assert hook.wait_count == 0


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c['meta'].update(teachers=[1]), 'meta.teachers .* list'),
        (lambda c: c.update(hooks='x'), 'hooks .* should be a dict'),
        (lambda c: c['hooks'].update(Steps={}), 'hooks cannot load'),
    ],
)
def test_altered_checkpoints_are_named(tiny_runner, change, message):
    options = {**KEEP, 'custom_hooks': [dict(type='mmengine.Steps')]}
    runner = tiny_runner(**options)
    runner.train()
    path = Path(runner.work_dir, 'epoch_1.pth')
    checkpoint = CheckpointLoader.load_checkpoint(str(path))
    change(checkpoint)
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=message):
        resumed(tiny_runner, 1, **options).train()


def test_every_hook_is_accounted_for():
    """The docs say of each what it keeps; a new one has to be looked at."""
    text = (ROOT / 'docs/durability.md').read_text()
    for registry in (HOOKS, PRETRAIN_HOOKS, RAZOR_HOOKS):
        for name, cls in registry.module_dict.items():
            if cls.__module__.split('.')[0] in (
                'mmengine',
                'mmpretrain',
                'mmrazor',
                'csd_mmrazor',
            ):
                assert f'`{name}`' in text, name

# Copyright (c) csd_mmrazor developers. All rights reserved.
import re
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import CheckpointLoader
from mmrazor.registry import OPTIM_WRAPPERS

from csd_mmrazor.engine.hooks.divergence_hook import largest_loss
from csd_mmrazor.models import CSDDistillation


@pytest.mark.parametrize('interval', [1, 1000])
def test_a_run_that_diverges_stops(tiny_runner, interval):
    """In its second epoch, whose last checkpoint is that of the first."""
    runner = tiny_runner(
        **{
            'model.log_interval': interval,
            'default_hooks.logger.interval': interval,
            'param_scheduler.architecture': dict(
                type='MultiStepLR', milestones=[1], gamma=1e30, _delete_=True
            ),
        }
    )
    with pytest.raises(
        FloatingPointError,
        match='diverged in epoch 2, .* weights became .* The checkpoint '
        r'before it is complete\. Set optim_wrapper\.architecture\.clip_grad=',
    ):
        runner.train()
    # With losses reported, before the epoch's end.
    assert (runner.iter < 5) == (interval == 1)
    names = {path.name for path in Path(runner.work_dir).glob('epoch*')}
    assert names == {'epoch_1.pth'}
    saved = CheckpointLoader.load_checkpoint(f'{runner.work_dir}/epoch_1.pth')
    assert all(
        value.isfinite().all() for value in saved['state_dict'].values()
    )


@pytest.mark.parametrize('part', ['architecture', 'aux_head'])
def test_the_advice_is_for_parts_that_may_diverge(tiny_runner, part):
    """A head becomes NaN first by either rate; there is no checkpoint yet."""
    runner = tiny_runner(**{f'optim_wrapper.{part}.optimizer.lr': 1e30})
    with pytest.raises(
        FloatingPointError,
        match=r'Inf, such as aux_head.*\. Start again with a lower '
        r'optim_wrapper\.architecture\.optimizer\.lr or '
        r'optim_wrapper\.aux_head\.optimizer\.lr\.$',
    ):
        runner.train()


def test_no_checkpoint_of_such_weights_is_saved(tiny_runner):
    """At whatever moment: some are saved by steps."""
    runner = tiny_runner(**{'train_cfg.max_epochs': 1})
    runner.train()
    runner.save_checkpoint(runner.work_dir, 'good.pth')
    next(runner.model.architecture.parameters()).data.fill_(float('nan'))
    with pytest.raises(FloatingPointError, match='weights became NaN'):
        runner.save_checkpoint(runner.work_dir, 'bad.pth')
    names = {path.name for path in Path(runner.work_dir).glob('*.pth')}
    assert 'good.pth' in names and 'bad.pth' not in names


@OPTIM_WRAPPERS.register_module()
class ScaledOptimWrapper(OptimWrapper):
    """MMEngine's AmpOptimWrapper, which asks for a GPU, on the CPU."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=1024)

    def backward(self, loss, **kwargs):
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs):
        self.scaler.step(self.optimizer)
        self.scaler.update()


@pytest.mark.skipif(
    not hasattr(torch.amp, 'GradScaler'),
    reason='before torch 2.3 there is none for the CPU',
)
def test_a_step_that_is_skipped_stops_nothing(tiny_runner, monkeypatch):
    loss, calls = CSDDistillation.loss, []

    def overflows_once(self, inputs, labels):
        calls.append(labels)
        losses = loss(self, inputs, labels)
        if len(calls) == 5:  # two are to check that it can be computed
            losses['student.loss'] = losses['student.loss'] * float('inf')
        return losses

    monkeypatch.setattr(CSDDistillation, 'loss', overflows_once)
    kind = {'type': 'mmrazor.ScaledOptimWrapper'}
    runner = tiny_runner(
        **{'optim_wrapper.architecture': kind, 'optim_wrapper.aux_head': kind}
    )
    runner.train()
    assert runner.iter == 6
    # Skipped, and the scale halved.
    assert runner.optim_wrapper['architecture'].scaler.get_scale() == 512
    assert all(p.isfinite().all() for p in runner.model.parameters())


@pytest.mark.parametrize(
    'losses, told',
    [
        (
            {'loss': 10.0, 'student.loss': 1.0, 'distill.loss_kd': 9.0},
            'In step 7, distill.loss_kd was 9 of a loss of 10: a lower',
        ),
        ({'loss': 10.0, 'student.loss': 5.0, 'distill.loss_kd': 5.0}, ''),
        ({'loss': 10.0, 'student.top1': 90.0}, ''),
        # What is maximised may make the sum of any size.
        ({'loss': -1.0, 'loss_a': 2.0, 'loss_b': -3.0}, ''),
        ({}, ''),
    ],
)
def test_the_loss_that_most_of_it_was(losses, told):
    found = largest_loss(losses, 7)
    assert found.startswith(told) and bool(found) == bool(told)


def test_the_log_says_why_it_ended(tiny_runner):
    runner = tiny_runner(
        **{
            'model.log_interval': 1,
            'default_hooks.logger.interval': 1,
            'optim_wrapper.architecture.optimizer.lr': 1e30,
        }
    )
    with pytest.raises(FloatingPointError) as error:
        runner.train()
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert re.search(f'ERROR - .* - {re.escape(str(error.value))}', log)

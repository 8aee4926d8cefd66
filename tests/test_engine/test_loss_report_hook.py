# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

# What makes a program wait for a GPU.
WAITS = ('item', 'tolist', 'cpu', 'numpy', '__bool__', '__float__', '__int__')


class Reader(Hook):
    """Reads the loss in each step, as a user's own hook may."""

    priority = 'LOWEST'

    def __init__(self, waits):
        self.losses, self.waited, self.waits = [], [], waits

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.waits.clear()

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.losses.append(outputs['loss'])
        self.waited.append(bool(self.waits))


@pytest.fixture
def waits(monkeypatch):
    """Notes what waits for the device."""
    waits = []
    for name in WAITS:
        method = getattr(torch.Tensor, name)

        def noted(*args, _method=method, _name=name, **kwargs):
            waits.append(_name)
            return _method(*args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, noted)
    return waits


def test_every_step_has_losses_and_few_wait(tiny_runner, waits):
    runner = tiny_runner(
        **{
            'model.log_interval': 3,
            'default_hooks.logger.interval': 2,
            'train_dataloader.sampler.num_samples': 96,
        }
    )
    reader = Reader(waits)
    runner.register_hook(reader)
    runner.train()
    read = [0, 1, 3, 5, 6, 7, 9, 11]
    assert reader.waited == [step in read for step in range(12)]
    losses = torch.stack(reader.losses)
    assert losses.isfinite().all() and len(losses.unique()) == 12
    # What is logged at a step that is reported is that step's.
    path = next(Path(runner.work_dir).glob('*/vis_data/scalars.json'))
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    logged = {v['step'] - 1: v['loss'] for v in logged if 'loss' in v}
    assert [*logged] == [1, 3, 5, 7, 9, 11]
    # The log has the mean of all that were read so far.
    for number in 2, 3, 4, 6, 8:
        expected = losses[read[:number]].mean().item()
        assert logged[read[number - 1]] == pytest.approx(expected, rel=1e-5)


def test_statistics_of_all_steps(tiny_runner, waits):
    """The mean of an epoch is that of its steps alone, and of each of them."""
    runner = tiny_runner(
        **{
            'model.log_interval': 3,
            'default_hooks.logger.interval': 6,
            'train_dataloader.sampler.num_samples': 96,
            'log_processor.custom_cfg': [
                dict(data_src='loss', method_name='mean', window_size='epoch')
            ],
        }
    )
    reader = Reader(waits)
    runner.register_hook(reader)
    runner.train()
    path = next(Path(runner.work_dir).glob('*/vis_data/scalars.json'))
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    logged = {v['step']: v['loss'] for v in logged if 'loss' in v}
    losses = torch.stack(reader.losses)
    for step in 6, 12:
        expected = losses[step - 6 : step].mean().item()
        assert logged[step] == pytest.approx(expected, rel=1e-5)


def test_norms_are_logged_where_gradients_accumulate(tiny_runner):
    """The optimizers never step at the steps that are reported."""
    options = dict(accumulative_counts=2, clip_grad=dict(max_norm=1.0))
    runner = tiny_runner(
        **{
            'model.log_interval': 2,
            'default_hooks.logger.interval': 3,
            'train_cfg.max_epochs': 1,
            'train_dataloader.sampler.num_samples': 96,
            **{
                f'optim_wrapper.{name}.{key}': value
                for name in ('architecture', 'aux_head')
                for key, value in options.items()
            },
        }
    )
    runner.train()
    path = next(Path(runner.work_dir).glob('*/vis_data/scalars.json'))
    logged = [json.loads(line) for line in path.read_text().splitlines()]
    for name in ('grad_norm', 'aux_head.grad_norm'):
        norms = {v['step']: v[name] for v in logged if name in v}
        assert {*norms} == {3, 6}
        assert all(norm > 0 for norm in norms.values())
        assert norms[3] != norms[6]

# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import math
from pathlib import Path

import pytest
import torch
from helpers import Stop
from mmengine.hooks import Hook
from mmengine.runner import LogProcessor

from csd_mmrazor.engine.hooks import loss_report_hook
from csd_mmrazor.engine.hooks.loss_report_hook import longest_window

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


# Statistics by name: of a window, and how many of 18 values that takes.
KEPT = {
    'mean': (dict(data_src='loss', window_size='epoch'), 7),
    'max': (dict(data_src='student.loss', window_size='global'), 18),
    'min': (dict(data_src='loss_aux'), 18),
}


class Times(Hook):
    """Notes what each step took; may stop the run."""

    def __init__(self, stop_at=None):
        self.times, self.stop_at = [], stop_at

    def after_train_iter(self, runner, *_, **__):
        self.times.append(runner.message_hub.get_scalar('train/time'))
        self.times[-1] = float(self.times[-1].current())
        if runner.iter + 1 == self.stop_at:
            raise Stop


def logged_by(runner):
    """What the log has of steps and validations of all starts of a run."""
    found = {}
    for path in sorted(Path(runner.work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            values = json.loads(line)
            key = values['step'], 'iter' in values
            found.setdefault(key, {}).update(values)
    return found


def without_times(logged):
    return {
        key: {k: v for k, v in values.items() if 'time' not in k}
        for key, values in logged.items()
    }


def test_as_much_is_kept_as_the_log_has_windows_for(tiny_runner, monkeypatch):
    options = {
        'train_cfg.max_epochs': 3,
        'train_dataloader.sampler.num_samples': 96,
        'val_dataloader.batch_size': 72,
        'log_processor.window_size': 4,
        'log_processor.custom_cfg': [
            dict(cfg, method_name=name, log_name=name)
            for name, (cfg, _) in KEPT.items()
        ],
    }
    whole, times = tiny_runner('whole', **options), Times()
    whole.register_hook(times)
    whole.train()
    scalars = whole.message_hub.log_scalars
    lengths = {key: len(value.data[0]) for key, value in scalars.items()}
    for cfg, expected in KEPT.values():
        assert lengths.pop(f'train/{cfg["data_src"]}') == expected
    # All batches of a validation, and one more.
    batches = len(whole.val_dataloader)
    assert lengths.pop('val/time') == batches + 1 < 2 * batches
    assert lengths.pop('val/accuracy/top1') == 3
    assert lengths.pop('train/time') == lengths['train/aux_head.lr'] == 4
    logged = logged_by(whole)
    for step in range(1, 19):
        window = times.times[max(step - 4, 0) : step]
        expected = sum(window) / len(window)
        assert logged[step, True]['time'] == pytest.approx(expected)
    # Resumed in its last epoch, and as MMEngine keeps it.
    cut = tiny_runner('cut', **options)
    cut.register_hook(Times(14))
    with pytest.raises(Stop):
        cut.train()
    resumed = tiny_runner('cut', resume=True, **options)
    resumed.train()
    assert without_times(logged_by(resumed)) == without_times(logged)
    monkeypatch.setattr(loss_report_hook, '_keep_windows', lambda _: None)
    plain = tiny_runner('plain', **options)
    plain.train()
    assert len(plain.message_hub.get_scalar('train/time').data[0]) == 18
    assert without_times(logged_by(plain)) == without_times(logged)


class Processor(LogProcessor):
    """May look at anything."""


@pytest.mark.parametrize(
    'processor, longest',
    [
        (LogProcessor(), 10),
        (LogProcessor(window_size=None), math.inf),
        (LogProcessor(window_size=2), 2),
        (Processor(), math.inf),
        *(
            (LogProcessor(custom_cfg=[dict(cfg, data_src='loss')]), longest)
            for cfg, longest in (
                (dict(method_name='mean', window_size=9), 10),
                (dict(method_name='mean', window_size=11), 11),
                (dict(method_name='mean', window_size='epoch'), 41),
                (dict(method_name='mean', window_size='global'), math.inf),
                (dict(method_name='mean'), math.inf),
                (dict(method_name='of_my_own', window_size=2), math.inf),
            )
        ),
    ],
)
def test_longest_windows(tiny_runner, processor, longest):
    runner = tiny_runner(**{'train_dataloader.sampler.num_samples': 16 * 40})
    runner.log_processor = processor
    assert longest_window(runner, 'train', 'loss') == longest
    others = min(longest, processor.window_size or math.inf)
    is_plain = type(processor) is LogProcessor
    assert longest_window(runner, 'train', 'lr') == (
        others if is_plain else math.inf
    )


def test_a_loop_of_steps_is_one_epoch(tiny_runner):
    loop = dict(by_epoch=False, max_iters=9, val_interval=2, _delete_=True)
    runner = tiny_runner(train_cfg=loop)
    runner.log_processor.custom_cfg = [
        dict(data_src='loss', method_name='mean', window_size='epoch')
    ]
    assert longest_window(runner, 'train', 'loss') == math.inf
    assert longest_window(runner, 'train', 'time') == 10
    batches = len(runner.val_dataloader)
    assert longest_window(runner, 'val', 'time') == max(10, batches + 1)


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

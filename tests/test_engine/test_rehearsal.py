# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The rehearsal leaves a run as it would be without.

What it finds is in tests/test_cli/test_bad_inputs.py.
"""

import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn as nn
from helpers import dump
from mmengine.hooks import Hook
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import HOOKS, DefaultScope
from mmengine.runner import CheckpointLoader
from mmrazor.registry import MODELS

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.engine import rehearsal
from csd_mmrazor.engine.hooks import synthesis_hook
from csd_mmrazor.models.losses import WeightedLoss

SYNTHESIS = 'default_hooks.synthesis'
EPOCHS = 2


def equal(a, b):
    """Whether two states are the same, bit by bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, (torch.Tensor, np.ndarray)):
        return torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    return a == b


def everything(runner):
    """Copies of all that a run could feel of a rehearsal."""
    loader, model = runner.train_dataloader, runner.model
    schedulers = runner.param_schedulers
    return dict(
        model={k: v.clone() for k, v in model.state_dict().items()},
        teachers={
            k: v.clone() for k, v in model.teachers.state_dict().items()
        },
        modes=[module.training for module in model.modules()],
        hooks=[len(module._forward_hooks) for module in model.modules()],
        gradients=[param.grad is None for param in model.parameters()],
        optimizer=runner.optim_wrapper.state_dict(),
        schedulers={
            name: [scheduler.state_dict() for scheduler in found]
            for name, found in schedulers.items()
        },
        hub=list(runner.message_hub.runtime_info.items()),
        scalars=list(runner.message_hub.log_scalars),
        instances={
            cls.__name__: [*cls._instance_dict]
            for cls in (MessageHub, MMLogger, DefaultScope)
        },
        python=random.getstate(),
        numpy=np.random.get_state()[1],
        torch=torch.get_rng_state(),
        sampler={
            name: value
            for name, value in vars(loader.sampler).items()
            if name != 'dataset'
        },
        images=len(loader.dataset),
        files=sorted(path.name for path in Path(runner.work_dir).iterdir()),
        config=repr(runner.cfg),
        loop=(runner.epoch, runner.iter, runner.train_loop.stop_training),
        threads=torch.get_num_threads(),
        grad=torch.is_grad_enabled(),
    )


def same_end(work, other):
    """Compare what two runs left: banks, checkpoints, rates."""
    banks = [BankFolder(folder / 'bank') for folder in (work, other)]
    assert banks[0].shards == banks[1].shards
    a, b = (
        CheckpointLoader.load_checkpoint(str(folder / f'epoch_{EPOCHS}.pth'))
        for folder in (work, other)
    )
    for key in a.keys() - {'meta', 'message_hub'}:
        assert equal(a[key], b[key]), key
    for key, value in a['message_hub']['log_scalars'].items():
        # A resumed run validates its checkpoint again.
        if 'time' not in key and not key.startswith('val/'):
            history = b['message_hub']['log_scalars'][key].data
            assert equal(value.data, history), key
    names = [{p.name for p in f.iterdir()} for f in (work, other)]
    # But for the logs, whose names are times.
    assert {n for n in names[0] ^ names[1] if not n[0].isdigit()} == set()


KINDS = {
    'plain': {},
    'averaged weights': {
        'custom_hooks': [dict(type='EMAHook', momentum=0.1)],
        'optim_wrapper.architecture.accumulative_counts': 3,
    },
    'bfloat16': {
        f'{SYNTHESIS}.synthesizer.amp': 'bfloat16',
        'optim_wrapper.architecture.type': 'mmrazor.AutocastOptimWrapper',
        'optim_wrapper.aux_head.type': 'mmrazor.AutocastOptimWrapper',
    },
    'weights that last': {
        f'{SYNTHESIS}.synthesizer.meta': dict(type='MetaGenerator'),
        'train_dataloader.dataset.storage': 'disk',
        'randomness.deterministic': True,
    },
    'a schedule by a metric': {
        'param_scheduler.architecture': dict(
            _delete_=True,
            type='ReduceOnPlateauLR',
            monitor='accuracy/top1',
            rule='greater',
            patience=0,
        ),
        'default_hooks.early': dict(
            type='EarlyStoppingHook', monitor='accuracy/top1', patience=9
        ),
    },
}


@pytest.mark.parametrize('kind', KINDS)
def test_a_run_is_the_same_with_it(tiny_runner, monkeypatch, tmp_path, kind):
    seen = []

    def noted(runner):
        seen.append(everything(runner))
        rehearsal.rehearse(runner)
        seen.append(everything(runner))

    monkeypatch.setattr(synthesis_hook, 'rehearse', noted)
    for name, rehearsed in (('with', True), ('without', False)):
        runner = tiny_runner(name, rehearsal=rehearsed, **KINDS[kind])
        runner.train()
    before, after = seen
    for key in before:
        assert equal(before[key], after[key]), key
    same_end(tmp_path / 'with', tmp_path / 'without')


def test_what_it_does(tiny_runner, monkeypatch):
    """Everything happens once, in the rehearsal's own place."""
    from csd_mmrazor.models import ImageSynthesizer
    from csd_mmrazor.models.synthesizers import image_synthesizer

    done = []
    synthesize = ImageSynthesizer.synthesize

    def noted(self, *args, with_student, **kwargs):
        done.append(('synthesis', with_student, kwargs['iters']))
        assert self.batch_size == 8
        return synthesize(self, *args, with_student=with_student, **kwargs)

    @HOOKS.register_module(force=True)
    class Noted(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch, outputs):
            done.append(('student', len(data_batch['labels'])))

        def after_val_iter(self, runner, batch_idx, data_batch, outputs):
            done.append(('validation', len(outputs)))

        def before_save_checkpoint(self, runner, checkpoint):
            done.append(('checkpoint', Path(runner.work_dir).name))

        def after_load_checkpoint(self, runner, checkpoint):
            done.append(('read back',))

    # As if it were MMEngine's.
    Noted.__module__ = 'mmengine.hooks'
    # Compiling takes minutes, and is left to the run.
    monkeypatch.delattr(image_synthesizer, 'CompiledNetworks')
    monkeypatch.setattr(ImageSynthesizer, 'synthesize', noted)
    runner = tiny_runner(
        **{
            'custom_hooks': [dict(type='Noted')],
            'train_dataloader.sampler.num_samples': 35,
            f'{SYNTHESIS}.synthesizer.compile': True,
            f'{SYNTHESIS}.init_rounds': 9,
        }
    )
    runner.train_loop  # noqa: B018  the data loader is read from it
    rehearsal.rehearse(runner)
    place = '.rehearsal_run'
    assert done == [
        ('synthesis', False, 2),
        ('synthesis', True, 2),
        ('student', 8),
        ('student', 3),  # as the last batch of 35 images by 16
        ('checkpoint', place),
        ('validation', 32),
        ('checkpoint', place),  # the best
        ('checkpoint', place),  # now that the best is known
        ('read back',),
    ]
    assert not Path(runner.work_dir, place).exists()
    assert not runner.train_loop.stop_training


def test_hooks_of_others_take_no_part(tiny_runner):
    calls = []

    @HOOKS.register_module(force=True)
    class Stranger(Hook):
        def after_train(self, runner):
            calls.append(runner.work_dir)

    runner = tiny_runner(rehearsal=True, custom_hooks=[dict(type='Stranger')])
    runner.train()
    assert calls == [runner.work_dir]


@pytest.mark.parametrize(
    'name, message',
    [
        ('vector', r'.*losses\.loss_own \(Own\) .* one number, a Tensor of'),
        ('nothing', r'.*losses\.loss_own \(Own\) .* one number, a NoneType'),
        ('number', r'.*losses\.loss_own \(Own\) .* one number, a float'),
        ('detached', r'.*losses\.loss_own \(Own\) .* passes no gradient'),
        ('wrong', r'.* failed in losses\.loss_own \(Own; test_re\S+, line '),
        ('logged', None),
    ],
)
def test_losses_of_ones_own(tiny_runner, name, message):
    @MODELS.register_module(force=True)
    class Own(WeightedLoss):
        def forward(self, logits_t):
            return dict(
                vector=lambda: logits_t.mean(1),
                nothing=lambda: None,
                number=lambda: 3.0,
                detached=lambda: logits_t.detach().mean(),
                logged=lambda: logits_t.detach().mean(),
                wrong=lambda: self.wrong(logits_t),
            )[name]()

        def wrong(self, logits):
            return logits[:, 99].mean()

    own = dict(type='Own', reported_only=name == 'logged')
    key = 'default_hooks.synthesis.synthesizer.losses.loss_own'
    runner = tiny_runner(rehearsal=True, **{key: own})
    if message is None:
        runner.train()
        return
    with pytest.raises(ValueError, match=message):
        runner.train()


def test_checkpoints_outside_the_work_dir_go_as_well(tiny_runner, tmp_path):
    runner = tiny_runner(
        rehearsal=True,
        **{
            'default_hooks.checkpoint.type': 'CheckpointHook',
            'default_hooks.checkpoint.out_dir': str(tmp_path / 'outside'),
        },
    )
    runner.train()
    assert [path.name for path in (tmp_path / 'outside').iterdir()] == ['run']


@pytest.mark.parametrize('scaled', [True, False])
def test_val_of_another_size_is_told_before_the_run(tiny_runner, scaled):
    resize = [dict(type='Resize', scale=(8, 8))]
    runner = tiny_runner(
        rehearsal=True,
        **{
            'val_dataloader.dataset.img_size': 12,
            'val_dataloader.dataset.pipeline': [
                *(resize if scaled else ()),
                dict(type='PackInputs'),
            ],
        },
    )
    runner.train()
    (log,) = Path(runner.work_dir).glob('*/*.log')
    told, *rest = log.read_text().split('a validation or test are 12x12')
    assert len(rest) == (not scaled)
    assert scaled or 'Epoch(train)' not in told


def test_a_runner_of_parts_has_none(tiny_runner):
    runner = tiny_runner()
    runner.cfg.pop('train_dataloader')
    rehearsal.rehearse(runner)
    assert not list(Path(runner.work_dir).glob('.rehearsal*'))


@pytest.mark.parametrize('processes', [1, 2])
def test_resumed_with_it(forked, tiny_config, tmp_path, processes):
    """Killed in the rehearsal, and in training; both go on as ever."""
    cfg = tiny_config()
    dump(cfg, tmp_path / 'config.py')
    kill = """
def hook(event, args):
    if event == 'open' and {name!r} in str(args[0]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""

    def train(*argv, **kwargs):
        return forked('config.py', *argv, processes=processes, **kwargs)

    whole = train('--work-dir', 'whole', '--no-rehearsal')
    assert whole.status == [0] * processes, whole.output[-3000:]
    for name in ('.rehearsal_run/.epoch_1.pth', '/.epoch_2.pth'):
        run = train(
            '--work-dir', 'run', '--resume', setup=kill.format(name=name)
        )
        assert -signal.SIGKILL in run.status, run.output[-3000:]
    run = train('--work-dir', 'run', '--resume')
    assert run.status == [0] * processes, run.output[-3000:]
    assert 'resumed epoch: 1' in run.stdout
    same_end(tmp_path / 'run', tmp_path / 'whole')


def test_an_optimizer_that_needs_a_closure(tiny_runner):
    optimizer = dict(type='LBFGS', lr=0.1, _delete_=True)
    runner = tiny_runner(
        rehearsal=True, **{'optim_wrapper.architecture.optimizer': optimizer}
    )
    with pytest.raises(
        rehearsal.RehearsalError,
        match='student step failed: check optim_wrapper.*without a closure',
    ):
        runner.train()


def test_no_place_on_the_disk(tiny_runner, monkeypatch):
    def full(path, content):
        raise OSError(28, 'No space left on device', str(path))

    from csd_mmrazor.datasets import bank_folder

    monkeypatch.setattr(bank_folder, 'write_file', full)
    runner = tiny_runner(rehearsal=True)
    with pytest.raises(
        rehearsal.RehearsalError,
        match='synthesis failed. OSError: .*Free some space there',
    ):
        runner.train()
    assert shutil.disk_usage(runner.work_dir).free


def test_distillation_losses_with_state_are_told(tiny_runner):
    """A warm-up that counts its steps would start again."""

    @MODELS.register_module(force=True)
    class WarmUp(nn.Module):
        def __init__(self):
            super().__init__()
            self.steps = 0

        def forward(self, preds_S, preds_T):
            self.steps += 1
            return (preds_S - preds_T).square().mean() * self.steps / 1e3

    key = 'model.distiller.distill_losses.loss_kd'
    runner = tiny_runner(
        rehearsal=True, **{key: dict(type='WarmUp', _delete_=True)}
    )
    runner.train()
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    told = 'starts without: model.distiller.distill_losses.loss_kd.steps. If'
    assert log.count(told) == 1

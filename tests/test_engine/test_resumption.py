# Copyright (c) csd_mmrazor developers. All rights reserved.
import copy
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import Stop, build, network
from mmengine.evaluator import Evaluator
from mmengine.hooks import EarlyStoppingHook, Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import Runner
from PIL import Image

from csd_mmrazor.engine import SynthesisHook
from csd_mmrazor.engine.hooks.resumption import (
    check_differences,
    renew_schedule,
    teacher_digests,
)
from csd_mmrazor.export import quality_of
from csd_mmrazor.utils import CheckpointError
from csd_mmrazor.utils.differences import config_differences

DONE = 3  # epochs
COSINE = dict(type='CosineAnnealingLR', by_epoch=True)
WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False)


class Run:
    """Optimizers and schedules of a run, and how MMEngine steps them."""

    def __init__(self, schedules, epochs=6, steps=4, lr=0.1, groups=1):
        self.steps = steps
        layers = [torch.nn.Linear(2, 2) for _ in range(groups)]
        self.param_schedulers = {}
        wrappers = {}
        for name in ('architecture', 'aux_head'):
            sgd = torch.optim.SGD(
                [
                    dict(params=[*layer.parameters()], lr=lr * (i + 1))
                    for i, layer in enumerate(layers)
                ],
                lr=lr,
                momentum=0.9,
            )
            wrappers[name] = OptimWrapper(sgd)
            self.param_schedulers[name] = [
                PARAM_SCHEDULERS.build(
                    dict(dict(end=epochs * (1 if by_epoch else steps)), **cfg),
                    default_args=dict(
                        optimizer=wrappers[name], epoch_length=steps
                    ),
                )
                for cfg in (schedules if name == 'architecture' else [])
                for by_epoch in [cfg['by_epoch']]
            ]
        self.optim_wrapper = OptimWrapperDict(**wrappers)

    def rates(self, epochs):
        """Train that many epochs; the rates and momenta of each step."""
        rates = []
        every = sum(self.param_schedulers.values(), [])
        for _ in range(epochs):
            for _ in range(self.steps):
                rates.append(
                    [
                        (group['lr'], group['momentum'])
                        for part in self.optim_wrapper.values()
                        for group in part.optimizer.param_groups
                    ]
                )
                for scheduler in every:
                    if not scheduler.by_epoch:
                        scheduler.step()
            for scheduler in every:
                if scheduler.by_epoch:
                    scheduler.step()
        return rates

    def checkpoint(self, epoch):
        return copy.deepcopy(
            dict(
                meta=dict(epoch=epoch, iter=epoch * self.steps),
                optimizer=self.optim_wrapper.state_dict(),
                param_schedulers={
                    name: [scheduler.state_dict() for scheduler in each]
                    for name, each in self.param_schedulers.items()
                },
            )
        )

    def load(self, checkpoint):
        """As ``Runner.resume`` does."""
        self.optim_wrapper.load_state_dict(checkpoint['optimizer'])
        for name, each in self.param_schedulers.items():
            states = checkpoint['param_schedulers'][name]
            assert len(states) == len(each)
            for scheduler, state in zip(each, states):
                scheduler.load_state_dict(state)


CHANGES = {
    'nothing': (dict(schedules=[COSINE]), dict(schedules=[COSINE])),
    'more epochs': (
        dict(schedules=[COSINE], epochs=DONE),
        dict(schedules=[COSINE], epochs=9),
    ),
    'fewer epochs': (
        dict(schedules=[COSINE], epochs=9),
        dict(schedules=[COSINE], epochs=4),
    ),
    'another rate': (
        dict(schedules=[COSINE], lr=0.1),
        dict(schedules=[COSINE], lr=0.02),
    ),
    'another warm-up': (
        dict(schedules=[dict(WARM_UP, end=4), dict(COSINE, begin=1)]),
        dict(schedules=[dict(WARM_UP, end=18), dict(COSINE, begin=2)]),
    ),
    'no warm-up': (
        dict(schedules=[dict(WARM_UP, end=20), COSINE]),
        dict(schedules=[COSINE]),
    ),
    'longer epochs, by steps': (
        dict(schedules=[dict(COSINE, by_epoch=False)], steps=4),
        dict(schedules=[dict(COSINE, by_epoch=False)], steps=7),
    ),
    'shorter epochs, converted': (
        dict(schedules=[dict(COSINE, convert_to_iter_based=True)], steps=5),
        dict(schedules=[dict(COSINE, convert_to_iter_based=True)], steps=2),
    ),
    'another kind': (
        dict(schedules=[COSINE]),
        dict(schedules=[dict(type='StepLR', step_size=2, by_epoch=True)]),
    ),
    'milestones, and momentum': (
        dict(
            schedules=[
                dict(type='MultiStepLR', milestones=[1, 9], by_epoch=True),
                dict(type='LinearMomentum', by_epoch=True),
            ]
        ),
        dict(
            schedules=[
                dict(type='MultiStepLR', milestones=[2, 4], by_epoch=True),
                dict(type='PolyMomentum', power=2, by_epoch=True),
            ]
        ),
    ),
    'several groups': (
        dict(schedules=[COSINE], epochs=DONE, groups=3),
        dict(schedules=[COSINE], epochs=8, groups=3),
    ),
}


@pytest.mark.parametrize('name', CHANGES)
def test_rates_are_those_of_a_run_with_the_new_config(name):
    old, new = CHANGES[name]
    before, whole, resumed = Run(**old), Run(**new), Run(**new)
    before.rates(DONE)
    checkpoint = before.checkpoint(DONE)
    told = renew_schedule(checkpoint, resumed, [], DONE, resumed.steps)
    assert bool(told) == (
        checkpoint['optimizer'] != before.checkpoint(DONE)['optimizer']
    )
    resumed.load(checkpoint)
    assert checkpoint['meta']['iter'] == DONE * whole.steps
    expected = whole.rates(new.get('epochs', 6))[DONE * whole.steps :]
    assert expected
    assert resumed.rates(new.get('epochs', 6) - DONE) == expected


def test_a_schedule_that_is_turned_off():
    old, new = Run([COSINE]), Run([])
    old.rates(DONE)
    checkpoint = old.checkpoint(DONE)
    new.param_schedulers = None
    assert renew_schedule(checkpoint, new, [], DONE, new.steps)
    new.optim_wrapper.load_state_dict(checkpoint['optimizer'])
    assert new.optim_wrapper['architecture'].get_lr()['lr'] == [0.1]


def test_a_schedule_that_the_checkpoint_has_not():
    old, whole, new = Run([]), Run([COSINE]), Run([COSINE])
    checkpoint = old.checkpoint(DONE)
    del checkpoint['param_schedulers']
    assert renew_schedule(checkpoint, new, [], DONE, new.steps)
    new.load(checkpoint)
    assert new.rates(3) == whole.rates(DONE + 3)[DONE * whole.steps :]


def test_a_schedule_that_looks_at_metrics():
    plateau = dict(type='ReduceOnPlateauLR', monitor='top1', by_epoch=True)
    old, new = Run([plateau], DONE), Run([plateau], 9)
    scheduler = old.param_schedulers['architecture'][0]
    old.rates(DONE)
    scheduler.num_bad_epochs = 7
    scheduler.optimizer.param_groups[0]['lr'] = 0.03
    checkpoint = old.checkpoint(DONE)
    assert renew_schedule(checkpoint, new, [], DONE, 4) == []
    new.load(checkpoint)
    found = new.param_schedulers['architecture'][0]
    assert (found.num_bad_epochs, found.end) == (7, 9)
    assert new.rates(1)[0][0] == (0.03, 0.9)
    # What such a schedule does not change is as in the new config.
    new = Run([plateau], 9)
    for part in new.optim_wrapper.values():
        for group in part.optimizer.param_groups:
            group.update(weight_decay=0.02, momentum=0.5)
    checkpoint = old.checkpoint(DONE)
    changes = renew_schedule(checkpoint, new, [], DONE, 4)
    assert any('weight_decay from here on: 0 -> 0.02' in c for c in changes)
    assert not any(' lr ' in change for change in changes)
    new.load(checkpoint)
    found = new.param_schedulers['architecture'][0]
    assert found.num_bad_epochs == 7
    (group,) = new.optim_wrapper['architecture'].optimizer.param_groups
    assert (group['lr'], group['weight_decay']) == (0.03, 0.02)
    assert group['momentum'] == 0.5
    decay = dict(plateau, type='ReduceOnPlateauParamScheduler')
    decay['param_name'] = 'weight_decay'
    old, new = Run([decay], DONE), Run([decay], 9)
    (group,) = old.optim_wrapper['architecture'].optimizer.param_groups
    group['weight_decay'] = 1e-4
    checkpoint = old.checkpoint(DONE)
    assert renew_schedule(checkpoint, new, [], DONE, 4) == []
    new.load(checkpoint)
    (group,) = new.optim_wrapper['architecture'].optimizer.param_groups
    assert group['weight_decay'] == 1e-4
    momentum = dict(plateau, type='ReduceOnPlateauMomentum')
    old, new = Run([momentum], DONE), Run([momentum], 9)
    (group,) = old.optim_wrapper['architecture'].optimizer.param_groups
    group['momentum'] = 0.7
    checkpoint = old.checkpoint(DONE)
    assert renew_schedule(checkpoint, new, [], DONE, 4) == []
    new.load(checkpoint)
    assert new.rates(1)[0][0] == (0.1, 0.7)
    changed = config_differences(
        dict(param_scheduler=dict(architecture=plateau)),
        dict(param_scheduler=dict(architecture=dict(plateau, patience=1))),
    )
    with pytest.raises(CheckpointError, match='Plateau.*architecture.patien'):
        renew_schedule(old.checkpoint(DONE), Run([plateau]), changed, DONE, 4)
    with pytest.raises(CheckpointError, match='Plateau'):
        mixed = [plateau, COSINE]
        renew_schedule(old.checkpoint(DONE), Run(mixed), [], DONE, 4)


def test_other_groups_of_weights_are_refused():
    checkpoint = Run([COSINE], groups=2).checkpoint(DONE)
    with pytest.raises(CheckpointError, match='optim_wrapper.architecture'):
        renew_schedule(checkpoint, Run([COSINE], groups=3), [], DONE, 4)


def test_one_optimizer_without_a_name():
    old, whole, new = (Run([COSINE], epochs) for epochs in (DONE, 9, 9))
    old.rates(DONE)
    checkpoint = old.checkpoint(DONE)
    for key in ('optimizer', 'param_schedulers'):
        checkpoint[key] = checkpoint[key]['architecture']
    runner = SimpleNamespace(
        optim_wrapper=new.optim_wrapper['architecture'],
        param_schedulers=new.param_schedulers['architecture'],
    )
    assert renew_schedule(checkpoint, runner, [], DONE, 4)
    whole.rates(DONE)
    assert (
        checkpoint['optimizer']['param_groups']
        == (whole.optim_wrapper['architecture'].state_dict()['param_groups'])
    )
    (state,) = checkpoint['param_schedulers']
    assert (state['last_step'], state['T_max']) == (DONE, 9)
    # Nor of a run that has several.
    with pytest.raises(CheckpointError, match='optim_wrapper has other gro'):
        renew_schedule(old.checkpoint(DONE), runner, [], DONE, 4)


def sgd(**change):
    sgd = dict(dict(type='SGD', lr=0.1, momentum=0.9), **change)
    return dict(optim_wrapper=dict(architecture=dict(optimizer=sgd)))


REFUSED = {
    'model.architecture.backbone.depth: 18 -> 34': (
        dict(model=dict(architecture=dict(backbone=dict(depth=18)))),
        dict(model=dict(architecture=dict(backbone=dict(depth=34)))),
    ),
    "model.architecture.backbone.act: 'ReLU' -> 'SiLU'": (
        dict(model=dict(architecture=dict(backbone=dict(act='ReLU')))),
        dict(model=dict(architecture=dict(backbone=dict(act='SiLU')))),
    ),
    'model.image_shape.1: 32 -> 64': (
        dict(model=dict(image_shape=(3, 32, 32))),
        dict(model=dict(image_shape=[3, 64, 32])),
    ),
    'model.data_preprocessor.num_classes: 10 -> 9': (
        dict(model=dict(data_preprocessor=dict(num_classes=10))),
        dict(model=dict(data_preprocessor=dict(num_classes=9))),
    ),
    'randomness.seed: 0 -> 1': (
        dict(randomness=dict(seed=0)),
        dict(randomness=dict(seed=1)),
    ),
    'randomness.seed: 0 -> None': (
        dict(randomness=dict(seed=0)),
        dict(randomness=dict(seed=None)),
    ),
    "train_dataloader.dataset.init_bank: None -> 'a'": (
        dict(train_dataloader=dict(dataset=dict(init_bank=None))),
        dict(train_dataloader=dict(dataset=dict(init_bank='a'))),
    ),
    'default_hooks.synthesis.init_rounds: 2 -> 10': (
        dict(default_hooks=dict(synthesis=dict(init_rounds=2))),
        dict(default_hooks=dict(synthesis=dict(init_rounds=10))),
    ),
    'custom_hooks.0.init_rounds: None -> 1': (
        dict(custom_hooks=[dict(type='SynthesisHook')]),
        dict(custom_hooks=[dict(type='SynthesisHook', init_rounds=1)]),
    ),
    'default_hooks.synthesis.init_iters: 20 -> 10': (
        dict(default_hooks=dict(synthesis=dict(init_iters=20))),
        dict(default_hooks=dict(synthesis=dict(init_iters=10))),
    ),
    "optim_wrapper.architecture.optimizer.type: 'SGD' -> 'Adam'": (
        sgd(),
        sgd(type='Adam'),
    ),
    'optim_wrapper.architecture.optimizer.amsgrad: None -> True': (
        sgd(type='Adam'),
        sgd(type='Adam', amsgrad=True),
    ),
    'optim_wrapper.architecture.optimizer.momentum: 0 -> 0.9': (
        sgd(type='RMSprop', momentum=0),
        sgd(type='RMSprop', momentum=0.9),
    ),
}
TAKEN = [
    ('a', dict(model=dict(teachers=dict(teacher=dict(ckpt_path='a'))))),
    (1, dict(model=dict(distiller=dict(losses=dict(kd=dict(weight=1)))))),
    (1, dict(model=dict(architecture=dict(head=dict(loss=dict(w=1)))))),
    (8, dict(train_dataloader=dict(batch_size=8))),
    (8, dict(train_dataloader=dict(sampler=dict(num_samples=8)))),
    (8, dict(default_hooks=dict(synthesis=dict(synthesizer=dict(iters=8))))),
    (9, dict(default_hooks=dict(synthesis=dict(init_rounds=9)))),
    (2, dict(custom_hooks=[dict(type='A'), dict(b=2)])),
    (0.5, sgd(lr=0.5)),
    (0.5, sgd(momentum=0.5)),
    (0.8, sgd(type='Adam', betas=[0.8, 0.99])),
    (True, dict(optim_wrapper=dict(aux_head=dict(accumulative_counts=True)))),
]


def replaced(config, old, new):
    if isinstance(config, dict):
        return {k: replaced(v, old, new) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return [replaced(item, old, new) for item in config]
    return new if config is old or config == old else config


@pytest.mark.parametrize('message', REFUSED)
def test_what_cannot_be_resumed_is_named(message):
    old, new = REFUSED[message]
    found = config_differences(old, new)
    with pytest.raises(CheckpointError, match=f'with {message}: .*train in'):
        check_differences(found, dict(seed=0), new)


@pytest.mark.parametrize('value, old', TAKEN)
def test_what_goes_on_with_the_new_value(value, old):
    new = replaced(old, value, 3)
    (difference,) = config_differences(old, new)
    assert (difference.old, difference.new) == (repr(value), '3')
    check_differences([difference], dict(seed=0), new)


def test_what_is_no_difference():
    old = dict(
        model=dict(shape=(3, 8), nan=float('nan')),
        work_dir='a',
        launcher='none',
        batch_size=8,  # a variable
        custom_hooks=[],
    )
    new = dict(old, model=dict(shape=[3, 8], nan=float('nan')), work_dir='b')
    assert config_differences(old, dict(new, batch_size=9)) == []
    # A seed that was drawn may be named.
    seed = config_differences(
        dict(randomness=dict(seed=None)), dict(randomness=dict(seed=7))
    )
    check_differences(seed, dict(seed=7), dict(randomness=dict(seed=7)))


def test_networks_that_are_given_as_they_are(tmp_path):
    """The config of such a run has no model; the error is of the weights."""
    images = dict(
        dataset=dict(
            type='mmrazor.DummyImages', image_shape=(1, 8, 8), length=4
        ),
        sampler=dict(type='DefaultSampler', shuffle=False),
        batch_size=2,
    )

    def run(width, **starts):
        Runner(
            build(network(base_channels=width)),
            str(tmp_path),
            train_dataloader=images,
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            default_hooks=dict(checkpoint=dict(type='DurableCheckpointHook')),
            default_scope='mmrazor',
            experiment_name=f'{tmp_path.name}_{width}',
            **starts,
        ).train()

    run(4)
    with pytest.raises(CheckpointError, match='of another model: .* differ'):
        run(8, resume=True)


class Rates(Hook):
    """Notes the rate of each epoch."""

    def __init__(self):
        self.rates = {}

    def before_train_epoch(self, runner):
        rates = runner.optim_wrapper['architecture'].get_lr()['lr']
        self.rates[runner.epoch] = rates[0]


def train(runner):
    noted = Rates()
    runner.register_hook(noted)
    runner.train()
    return noted.rates, next(Path(runner.log_dir).glob('*.log')).read_text()


def test_a_run_goes_on_with_another_config(
    tiny_runner, teacher_file, tmp_path
):
    """More and longer epochs, another rate, loss, teacher and rounds."""
    teacher = tmp_path / 'teacher.pth'
    shutil.copy(teacher_file, teacher)
    old = {
        'model.teachers.teacher.ckpt_path': str(teacher),
        'train_cfg.max_epochs': 2,
    }
    short, log = train(tiny_runner(**old))
    assert short == {0: 0.1, 1: pytest.approx(0.05)}
    assert 'that differs' not in log
    # Nothing differs: nothing is told, and nothing is left to do.
    rates, log = train(tiny_runner(resume=True, **old))
    assert rates == {} and 'that differs' not in log
    assert 'metainfo' not in log
    weights = torch.load(teacher)
    weights['state_dict']['head.fc.bias'] += 1
    torch.save(weights, teacher)
    changed = {
        **old,
        'train_cfg.max_epochs': 4,
        'train_dataloader.batch_size': 8,
        'default_hooks.synthesis.synthesizer.iters': 3,
        'model.student_loss.loss_weight': 0.5,
        'optim_wrapper.architecture.optimizer.lr': 0.2,
    }
    new, log = train(tiny_runner('other', **changed))
    rates, log = train(tiny_runner(resume=True, **changed))
    assert rates == {2: new[2], 3: new[3]} and new[2] == pytest.approx(0.1)
    for line in (
        'of epoch 2 of a run that differs',
        'train_cfg.max_epochs: 2 -> 4',
        'train_dataloader.batch_size: 16 -> 8',
        'synthesis.synthesizer.iters: 2 -> 3',
        'model.student_loss.loss_weight: 1.0 -> 0.5',
        'steps an epoch: 3 -> 6',
        'optim_wrapper.architecture.optimizer.lr: 0.1 -> 0.2',
        'optim_wrapper.architecture, group 0, lr from here on: 0.05 -> 0.1',
        'weights of teachers.teacher: sha256 ',
        'continues with the new values',
    ):
        assert line in log, line
    for max_epochs, message in (
        (3, 'max_epochs=3, but the checkpoint is of epoch 4'),
        (4, 'with model.architecture.backbone.frozen_stages: None -> 0'),
    ):
        runner = tiny_runner(
            resume=True,
            **{
                **changed,
                'train_cfg.max_epochs': max_epochs,
                'model.architecture': network(frozen_stages=0),
            },
        )
        with pytest.raises(CheckpointError, match=message):
            runner.train()


@pytest.fixture
def resumed_with(tiny_runner, monkeypatch):
    """Train two epochs with scores 30 and 20, and a third with 12 and 13."""

    def resumed_with(old, new, between=lambda: None):
        runners = []
        options = {
            'default_hooks.checkpoint.max_keep_ckpts': 5,
            'param_scheduler.architecture': dict(
                _delete_=True,
                type='ReduceOnPlateauLR',
                monitor='accuracy/top1',
                rule='greater',
            ),
            'custom_hooks': [
                dict(type='EarlyStoppingHook', monitor='accuracy/top1')
            ],
        }
        for epochs, scores, changed in (
            (2, [30, 20], old),
            (3, [12, 13], new),
        ):
            monkeypatch.setattr(
                Evaluator,
                'evaluate',
                lambda *_, left=scores: {'accuracy/top1': left.pop(0)},
            )
            runner = tiny_runner(
                resume=bool(runners),
                report=True,
                **{**options, 'train_cfg.max_epochs': epochs, **changed},
            )
            runner.train()
            if not runners:
                between()
            runners.append(runner)
        log = Path(runner.log_dir, f'{runner.timestamp}.log').read_text()
        (stopping,) = (
            hook for hook in runner.hooks if type(hook) is EarlyStoppingHook
        )
        (plateau,) = runner.param_schedulers['architecture']
        best = {p.name for p in Path(runner.work_dir).glob('*best_*.pth')}
        return runner, log, best, (stopping.best_score, plateau.best)

    return resumed_with


SPLIT = 'val_dataloader.dataset.split'
FIRST, THIRD = (f'best_accuracy_top1_epoch_{n}.pth' for n in (1, 3))


def test_scores_of_other_images_are_not_compared(resumed_with):
    runner, log, best, patience = resumed_with({SPLIT: 'train'}, {})
    assert best == {f'replaced_{FIRST}', THIRD}
    assert patience == (13, 12)  # whose schedule is at its end by then
    assert f"{SPLIT}: 'train' -> 'test'" in log
    assert 'chosen by other scores' in log
    assert runner.message_hub.get_info('best_score') == 13
    # What the card says of a score is what it is of.
    for epoch, expected in ((1, (30, 'train')), (3, (13, 'test'))):
        path = Path(runner.work_dir, f'epoch_{epoch}.pth')
        found = quality_of(runner.cfg, path, dict(epoch=epoch))
        assert (found.top1, found.split) == expected
    (report,) = (h for h in runner.hooks if type(h).__name__ == 'ReportHook')
    assert report.measured['validation']['student']['epoch'] > 1


def test_scores_of_another_metric_are_not_compared(resumed_with):
    _, log, best, patience = resumed_with(
        {}, {'default_hooks.checkpoint.rule': 'less'}
    )
    assert best == {
        f'replaced_{FIRST}',
        FIRST.replace('_1', '_2'),
    }
    assert patience == (30, 30)  # which have rules of their own
    assert 'chosen by other scores' in log


@pytest.mark.parametrize('how', ['moved', 'copied', 'changed', 'another'])
def test_the_same_images_in_another_folder(resumed_with, tmp_path, how):
    """They keep the best one, be there two of the folder or one."""
    old, new = tmp_path / 'old' / 'photos', tmp_path / 'new' / 'photos'
    for label in range(10):
        (old / str(label)).mkdir(parents=True)
        Image.new('L', (8, 8), label).save(old / str(label) / 'a.png')
    if how == 'another':
        new = new.with_name('others')
    shutil.copytree(old, new)

    def val(folder):
        key = 'val_dataloader.dataset'
        data = dict(
            _delete_=True,
            type='mmrazor.FolderImages',
            data_root=str(folder),
            image_shape=(1, 8, 8),
            num_classes=10,
        )
        return {key: data}

    def between():
        if how == 'changed':
            (new / '3' / 'a.png').rename(new / '3' / 'b.png')
        elif how != 'copied':
            shutil.rmtree(old)

    _, log, best, patience = resumed_with(val(old), val(new), between)
    if how in ('moved', 'copied'):
        assert best == {FIRST} and patience == (30, 30)
        assert 'the best checkpoint so far stay as they are' in log
    else:
        assert best == {f'replaced_{FIRST}', THIRD} and patience == (13, 12)


def test_which_teachers_have_a_digest(tiny_runner):
    model = tiny_runner().model
    before = teacher_digests(model)
    assert [*before] == ['teachers.teacher']
    assert teacher_digests(model) == before
    next(model.teachers.buffers()).add_(1)
    assert teacher_digests(model) != before
    # Buffers in a precision that NumPy lacks, which is no weight's.
    half = torch.tensor(1.0, dtype=torch.bfloat16)
    model.teachers['teacher'].register_buffer('scale', half, persistent=False)
    before = teacher_digests(model)
    half.add_(1)
    assert teacher_digests(model) != before
    # Nothing of what the checkpoint has.
    assert teacher_digests(model.student) == {}


class StopAt(Hook):
    """Ends a run where its hook is called."""

    priority = 'VERY_LOW'

    def before_train_iter(self, runner, *_, **__):
        raise Stop


@pytest.mark.parametrize('images', [0, 32, 48])
def test_resumed_before_the_first_checkpoint(tiny_runner, images, monkeypatch):
    """Never begun, or ended in the initial bank or in the first epoch."""

    def log_of(resume):
        runner = tiny_runner(resume=resume, **few)
        runner.register_hook(StopAt())
        with pytest.raises(Stop):
            runner.train()
        return Path(runner.log_dir, f'{runner.timestamp}.log').read_text()

    few = {'train_dataloader.sampler.num_samples': 16}
    if images:
        if images == 32:

            def end(*_):
                raise Stop

            monkeypatch.setattr(SynthesisHook, 'before_train_epoch', end)
        first = log_of(resume=False)
        assert 'No checkpoint' not in first
        assert 'are kept' not in first
        monkeypatch.undo()
    log = log_of(resume=True)
    assert 'No checkpoint yet in ' in log and 'checkpoint None' not in log
    kept = re.findall(r'The (\d+) images that an earlier start left in', log)
    assert kept == [str(images)] * bool(images)


def test_a_checkpoint_is_resumed_as_ever(tiny_runner):
    few = {
        'train_dataloader.sampler.num_samples': 16,
        'train_cfg.max_epochs': 1,
    }
    tiny_runner(**few).train()
    runner = tiny_runner(resume=True, **few)
    runner.train()
    log = Path(runner.log_dir, f'{runner.timestamp}.log').read_text()
    assert 'resumed from the latest checkpoint' in log
    assert 'No checkpoint' not in log and 'are kept' not in log

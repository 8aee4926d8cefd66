# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

import pytest
from helpers import build, equal
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, FUNCTIONS, HOOKS, LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch.utils.data import default_collate

from csd_mmrazor.cli.config import check_training
from csd_mmrazor.datasets import BankSampler
from csd_mmrazor.engine.hooks import loop_checks
from csd_mmrazor.engine.hooks.loop_checks import (
    check_loop,
    check_no_gathering,
)

SAMPLER = 'train_dataloader.sampler'
SGD = dict(type='SGD', lr=0.1)
MIXUP = dict(augments=dict(type='Mixup', alpha=0.2))


@LOOPS.register_module()
class OwnLoop(BaseLoop):
    """A stranger's, which has no epochs."""

    max_iters, max_epochs, epoch, iter = 1, 1, 0, 0

    def __init__(self, runner, dataloader, max_iters):
        super().__init__(runner, dataloader)

    def run(self):
        self.runner.call_hook('before_train')


def own_collate(batch, key):
    return {key: batch['inputs'], 'labels': batch['labels']}


FUNCTIONS.register_module(module=own_collate)
FUNCTIONS.register_module(module=default_collate, force=True)


def replaced(name, **value):
    return {name: dict(value, _delete_=True)}


@pytest.mark.parametrize(
    'change, message',
    [
        (
            replaced('train_cfg', by_epoch=False, max_iters=6),
            'IterBasedTrainLoop has no epochs: set train_cfg',
        ),
        (
            replaced('train_cfg', type='OwnLoop', max_iters=6),
            'OwnLoop has no epochs: set train_cfg',
        ),
        (
            {'train_dataloader.drop_last': True, f'{SAMPLER}.num_samples': 9},
            'no student step: .*batch_size=16 .* the 9 images .* drop_last',
        ),
        (
            replaced(SAMPLER, type='DefaultSampler', shuffle=True),
            'sampler should be .*mmrazor.BankSampler.* got DefaultSampler',
        ),
        (
            replaced(SAMPLER, type='InfiniteSampler', shuffle=True),
            'sampler should be .*mmrazor.BankSampler.* got InfiniteSampler',
        ),
        (
            {'train_dataloader.collate_fn.type': 'pseudo_collate'},
            'collate_fn should be .*bank_collate.* but got pseudo_collate',
        ),
        (
            {'train_dataloader.collate_fn.type': 'default_collate'},
            'collate_fn should be .*bank_collate.* but got default_collate',
        ),
        (
            replaced(
                'train_dataloader.collate_fn', type='own_collate', key='img'
            ),
            'collate_fn should be .*bank_collate.* but got own_collate',
        ),
        (
            {'train_dataloader.collate_fn.typ': 3},
            'bank_collate.* takes no other keys, but got typ: leave',
        ),
        (
            {'train_dataloader.dataset.held_out': 0.05},
            'held_out=0.05 .* none of the 16 images .* 0.063 or more',
        ),
        (
            {
                'train_dataloader.dataset.held_out': 0.5,
                'default_hooks.synthesis.synthesizer.batch_size': 1,
            },
            'held_out=0.5 .* a round has one image: raise batch_size',
        ),
        (
            # 4 shards of 16 images of 72 bytes, 4.3e-6 GiB.
            {
                'train_dataloader.sampler.buffer_shards': 3,
                'train_dataloader.dataset.memory_limit': 4e-6,
            },
            'buffer_shards=3 .* up to 4 shards .* take 4.29e-06 GiB, .* '
            'buffer_shards to 0, or raise memory_limit',
        ),
        (
            {'default_hooks.checkpoint.by_epoch': False},
            'by_epoch=False of DurableCheckpointHook .* cannot be resumed',
        ),
        (
            replaced(
                'default_hooks.checkpoint',
                type='CheckpointHook',
                by_epoch=False,
            ),
            'by_epoch=False of CheckpointHook .* cannot be resumed',
        ),
        (
            {'optim_wrapper.architecture.accumulative_counts': 4},
            'optim_wrapper.architecture.accumulative_counts=4 .* the 3 steps',
        ),
        (
            {'optim_wrapper.aux_head.accumulative_counts': 100},
            'optim_wrapper.aux_head.accumulative_counts=100 .* the 3 steps',
        ),
        *(
            (
                {
                    f'optim_wrapper.{name}': dict(optimizer=SGD),
                    f'param_scheduler.{name}': [],
                },
                f'optim_wrapper.{name} would never step: {message}',
            )
            for name, message in dict(
                distiller=r'.* trains distiller, .*=dict\(distiller=dict\(lr',
                teachers='.* Leave teachers out',
            ).items()
        ),
        (
            {
                'optim_wrapper.constructor': (
                    'mmrazor.SeparateOptimWrapperConstructor'
                )
            },
            'No optimizer has distiller.connectors.align.* set optim_wrapper',
        ),
        (
            {
                'custom_hooks': [
                    dict(type='mmrazor.StopDistillHook', stop_epoch=1)
                ]
            },
            r'StopDistillHook \(stop_epoch=1\) cannot stop .* CSDDistillation',
        ),
        *(
            (
                {
                    'custom_hooks': [
                        dict(
                            type='mmpretrain.SwitchRecipeHook',
                            schedule=[dict(action_epoch=2, **recipe)],
                        )
                    ]
                },
                f'SwitchRecipeHook cannot switch {name} .action_epoch=2',
            )
            for name, recipe in dict(
                batch_augments=dict(batch_augments=MIXUP),
                train_pipeline=dict(train_pipeline=[]),
                loss=dict(loss=dict(type='mmpretrain.CrossEntropyLoss')),
            ).items()
        ),
        (
            {'efficient_conv_bn_eval': ['teachers.teacher.backbone.layer1']},
            'efficient_conv_bn_eval names teachers.* needs the BN layers',
        ),
        (
            {'efficient_conv_bn_eval': 'teachers.teacher'},
            'names teachers.teacher, but .* leave it out of efficient_conv',
        ),
        (
            {
                'activation_checkpointing': [
                    'architecture.backbone',
                    'teachers.teacher.backbone',
                ]
            },
            'activation_checkpointing names teachers.* no weights of a',
        ),
    ],
)
def test_refused_before_any_image(tiny_runner, change, message):
    runner = tiny_runner(**change)
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert not Path(runner.work_dir, 'bank').exists()


def test_a_student_may_compute_in_other_ways(tiny_runner):
    """Its images and weights are those that it would have else."""
    found = []
    for section in 'activation_checkpointing', 'none':
        runner = tiny_runner(section, **{section: ['architecture.backbone']})
        runner.train()
        found.append(runner.model.state_dict())
    assert equal(*found)


@pytest.mark.parametrize(
    'change, message',
    [
        (
            {'data_preprocessor.batch_augments': MIXUP},
            'batch_augments of Bank',
        ),
        (
            {
                'data_preprocessor.batch_augments': dict(
                    augments=dict(type='CutMix', alpha=1.0)
                )
            },
            'batch_augments of BankDataPreprocessor would do nothing',
        ),
        ({'data_preprocessor.to_onehot': True}, 'to_onehot of BankDataPrep'),
    ],
)
def test_preprocessors_that_do_nothing_to_a_bank(tiny_config, change, message):
    cfg = tiny_config(**{f'model.{key}': val for key, val in change.items()})
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(cfg)


@pytest.mark.parametrize(
    'change, message',
    [
        (
            replaced(
                'train_dataloader.dataset',
                type='RepeatDataset',
                times=2,
                dataset=dict(type='mmrazor.ImageBank'),
            ),
            'RepeatDataset cannot hold an ImageBank',
        ),
        (
            replaced(
                'train_dataloader.dataset',
                type='ConcatDataset',
                datasets=[
                    dict(type='mmrazor.Digits', split='train'),
                    dict(type='ImageBank'),
                ],
            ),
            'ConcatDataset cannot hold an ImageBank',
        ),
        (
            replaced(
                'train_dataloader.dataset',
                type='RepeatDataset',
                times=2,
                dataset=dict(
                    type='ClassBalancedDataset',
                    oversample_thr=0.1,
                    dataset=dict(type='mmrazor.ImageBank'),
                ),
            ),
            'ClassBalancedDataset cannot hold an ImageBank',
        ),
        (
            {'train_dataloader.num_batch_per_epoch': 2},
            'num_batch_per_epoch .*num_samples',
        ),
        ({'train_cfg.val_begin': 3}, 'val_begin .* max_epochs=2, but got 3'),
        ({'train_cfg.max_epochs': 0}, 'max_epochs .* but got 0'),
    ],
)
def test_configs_that_are_refused(tiny_config, change, message):
    with pytest.raises(ValueError, match=message):
        check_training(tiny_config(**change))


@pytest.mark.parametrize('begin', [5, 7])
def test_loops_of_iterations_count_validations_in_them(tiny_config, begin):
    cfg = tiny_config(
        **replaced(
            'train_cfg',
            type='IterBasedTrainLoop',
            max_iters=6,
            val_begin=begin,
        )
    )
    if begin < 6:
        check_training(cfg)
        return
    message = 'an iteration up to max_iters=6, but got 7'
    with pytest.raises(ValueError, match=message):
        check_training(cfg)


@DATA_SAMPLERS.register_module()
class OwnSampler(BankSampler):
    """A stranger's that draws in its own way."""


@LOOPS.register_module()
class OwnEpochs(EpochBasedTrainLoop):
    """A stranger's, which has epochs."""


@HOOKS.register_module()
class CountSteps(Hook):
    count = 0

    def after_train_iter(self, runner, *args, **kwargs):
        CountSteps.count += 1


def test_what_is_not_refused(tiny_runner):
    """Fewer images than a batch make one step; own samplers and loops run."""
    CountSteps.count = 0
    options = {
        f'{SAMPLER}.type': 'mmengine.OwnSampler',
        f'{SAMPLER}.num_samples': 5,
        'custom_hooks': [dict(type='mmengine.CountSteps')],
        **replaced('train_cfg', type='mmengine.OwnEpochs', max_epochs=2),
    }
    runner = tiny_runner(**options)
    runner.train()
    assert CountSteps.count == 2
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'batch_size=16 (of each process) is more than the 5 images' in log


@pytest.mark.parametrize('capacity, interval', [(20, 2), (20, 1), (None, 2)])
def test_images_that_are_dropped_between_checkpoints(
    tiny_runner, capacity, interval
):
    options = {
        'train_dataloader.dataset.capacity': capacity,
        'default_hooks.checkpoint.interval': interval,
    }
    runner = tiny_runner(**options)
    check_loop(runner)
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    warned = 'saves every 2 epochs, and capacity=20 of ImageBank' in log
    assert warned == ((capacity, interval) == (20, 2))


def test_losses_of_synthesis_that_wait_for_others(tiny_runner, monkeypatch):
    """Rounds are made by one process each, so nothing would come."""
    loss = dict(type='mmrazor.InformationEntropyLoss')
    synthesizer = tiny_runner().hooks
    (hook,) = (h for h in synthesizer if hasattr(h, 'synthesizer'))
    for gather in (True, False):
        hook.synthesizer.objective.losses['own'] = build(
            dict(loss, gather=gather)
        )
        check_no_gathering(hook.synthesizer)  # one process
        with monkeypatch.context() as patch:
            patch.setattr(loop_checks, 'get_dist_info', lambda: (0, 2))
            if not gather:
                check_no_gathering(hook.synthesizer)
                continue
            with pytest.raises(ValueError, match='EntropyLoss .*gather=False'):
                check_no_gathering(hook.synthesizer)


def test_more_processes_than_gpus(tiny_config, monkeypatch):
    cfg = tiny_config()
    cfg.launcher = 'pytorch'
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.setenv('RANK', '2')
    for rank in ('1', '2'):
        monkeypatch.setenv('LOCAL_RANK', rank)
        if rank == '1':
            check_training(cfg)
            continue
        with pytest.raises(ValueError, match='process 3 .* has 2 GPUs'):
            check_training(cfg)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Runs by a config that train on a bank which is there already."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from csd_mmrazor.datasets import BankError, BankFolder

BANK = 'train_dataloader.dataset'
OPTIMIZER = 'optim_wrapper.architecture'


@pytest.fixture
def finished(tiny_config, tmp_path):
    """A Runner on a bank of 20 images, or of others."""

    def make(
        shape=(1, 8, 8), num_classes=10, number=20, classes=None, **options
    ):
        root = tmp_path / 'bank'
        images = np.random.default_rng(0).integers(
            256, size=(number, *shape), dtype=np.uint8
        )
        folder = BankFolder(root, shape, num_classes, classes)
        folder.append(images, np.arange(number) % num_classes, 0, 0, True)
        options = {f'{BANK}.data_root': str(root), **options}
        cfg = tiny_config(**{'train_cfg.max_epochs': 1, **options})
        del cfg.default_hooks['synthesis']
        return Runner.from_cfg(cfg)

    return make


@pytest.mark.parametrize(
    'options, message',
    [
        (
            dict(shape=(1, 9, 8)),
            r'image_shape=\[1, 9, 8\], but \[1, 8, 8\] is',
        ),
        (
            dict(shape=(3, 8, 8)),
            r'image_shape=\[3, 8, 8\], but \[1, 8, 8\] is',
        ),
        (dict(num_classes=11), 'num_classes=11, but 10 is needed'),
        (dict(num_classes=5), 'num_classes=5, but 10 is needed'),
        ({f'{BANK}.data_root': None}, r'no images to train on \(data_root=No'),
        (
            {f'{OPTIMIZER}.accumulative_counts': 4},
            'accumulative_counts=4 is more than the 3 steps',
        ),
        (
            {
                'custom_hooks': [
                    dict(type='mmrazor.StopDistillHook', stop_epoch=1)
                ]
            },
            'StopDistillHook .* cannot stop',
        ),
        (
            {
                'custom_hooks': [
                    dict(
                        type='mmpretrain.SwitchRecipeHook',
                        schedule=[dict(action_epoch=2, train_pipeline=[])],
                    )
                ]
            },
            'SwitchRecipeHook cannot switch train_pipeline',
        ),
        (
            {
                'optim_wrapper.constructor': (
                    'mmrazor.SeparateOptimWrapperConstructor'
                )
            },
            'No optimizer has distiller.connectors.align',
        ),
    ],
)
def test_banks_that_do_not_fit(finished, options, message):
    runner = finished(**options)
    with pytest.raises((BankError, ValueError), match=message):
        runner.train()
    assert not [*Path(runner.work_dir).glob('*.pth')]


NAMES = [*'abcdefghij']


def test_a_bank_whose_classes_have_another_order(finished):
    names = {'val_dataloader.dataset.metainfo': dict(classes=NAMES[::-1])}
    runner = finished(classes=NAMES, **names)
    with pytest.raises(BankError, match="Class 0 of .* is 'a', but 'j' here"):
        runner.train()


@pytest.mark.parametrize(
    'classes, names',
    [
        (None, NAMES),
        (NAMES, NAMES),
        # Other words, and two classes of one name.
        (NAMES, ['an A', *NAMES[1:]]),
        (['b', *NAMES[1:]], ['b', *NAMES[1:]]),
        (NAMES, [*NAMES, 'k']),
    ],
)
def test_a_bank_with_the_same_classes(finished, classes, names):
    names = {'val_dataloader.dataset.metainfo': dict(classes=names)}
    runner = finished(classes=classes, **names)
    runner.train_loop.run = lambda: runner.call_hook('before_train')
    runner.train()


def noise(inputs, logits):
    return logits + torch.rand_like(logits)


@pytest.mark.parametrize(
    'who, change, message',
    [
        ('teacher', lambda _, x: x.softmax(1), 'returns probabilities'),
        ('student', lambda _, x: x.softmax(1), 'returns probabilities'),
        ('teacher', noise, r'teacher "teacher" \(Image.* eval mode'),
        ('student', noise, r'the student \(Image.* eval mode'),
        ('student', None, r'the student \(Image.* NaN or infinite'),
    ],
)
def test_networks_that_cannot_be_worked_with(
    finished, monkeypatch, who, change, message
):
    """As ``SynthesisHook`` refuses them for banks that grow."""
    runner = finished()
    network = runner.model.student
    if who == 'teacher':
        network = runner.model.teachers['teacher']
    if change is None:
        next(network.parameters()).data.fill_(float('nan'))
        monkeypatch.setattr(runner.model, 'init_weights', lambda: None)
    else:
        network.register_forward_hook(lambda _, x, y: change(x[0], y))
    with pytest.raises(ValueError, match=message):
        runner.train()


def test_log_probabilities_are_told(finished):
    runner = finished()
    teacher = runner.model.teachers['teacher']
    teacher.register_forward_hook(lambda _, x, y: y.log_softmax(1))
    runner.train()
    log = Path(runner._log_dir, f'{runner.timestamp}.log').read_text()
    assert log.count('returns log-probabilities in place of logits') == 1

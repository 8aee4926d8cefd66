# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Banks that drop their oldest images, in runs that are stopped."""

from pathlib import Path

import numpy as np
import pytest
from mmrazor.registry import MODELS
from PIL import Image
from test_persistent_state import OPTIONS as CONTRASTIVE
from test_persistent_state import (
    SYNTHESIS,
    Stop,
    assert_same,
    hook_of,
    outcome,
)

from csd_mmrazor.datasets import BankError, BankFolder, ImageBank
from csd_mmrazor.datasets import image_bank as module

OPTIONS = {
    'train_dataloader.dataset.capacity': 48,
    'train_cfg.max_epochs': 2,
    f'{SYNTHESIS}.init_rounds': 2,
    f'{SYNTHESIS}.rounds': 2,
}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Three shards of images to start with: a bank, or a folder."""
    monkeypatch.setattr(module, 'SHARD_SIZE', 8)

    def source(kind, number=24):
        images = np.random.default_rng(0).integers(0, 255, (number, 1, 8, 8))
        images = images.astype(np.uint8)
        path = tmp_path / kind
        for start in range(0, number, 8) if kind == 'bank' else ():
            part = images[start : start + 8]
            BankFolder(path, (1, 8, 8), 10).append(
                part, np.arange(8), 0, start, True
            )
        for index, image in enumerate(images if kind == 'folder' else ()):
            picture = path / str(index % 10) / f'{index:02d}.png'
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(picture)
        return str(path)

    return source


def stopped(runner, number):
    """Train until a student step."""
    algorithm = MODELS.get('CSDDistillation')
    step, steps = algorithm.train_step, []

    def counted(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == number:
            raise Stop
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(algorithm, 'train_step', counted)
        runner.train()


@pytest.mark.parametrize('kind', ['', 'bank', 'folder'])
def test_what_was_dropped_is_not_made_again(tiny_runner, source, kind):
    options = OPTIONS
    if kind:
        # Of a capacity by which something older than them would be left.
        options = {
            **OPTIONS,
            'train_dataloader.dataset.init_bank': source(kind),
        }
    whole = tiny_runner('whole', **options)
    whole.train()
    stopped(tiny_runner('cut', **options), 5)  # an epoch has three
    resumed = tiny_runner('cut', resume=True, **options)
    resumed.train()
    assert_same(outcome(whole), outcome(resumed))
    if kind:
        return
    # Nor where nothing is to be dropped any more.
    free = {**options, 'train_dataloader.dataset.capacity': None}
    again = tiny_runner('cut', resume=True, **free)
    again.train()
    assert_same(outcome(whole), outcome(again))


def test_a_memory_of_images_that_were_dropped(tiny_runner):
    """Larger than the bank, and with rows in the order of a whole run."""
    options = {
        **CONTRASTIVE,
        'train_dataloader.dataset.capacity': 32,
        'train_cfg.max_epochs': 3,
        f'{SYNTHESIS}.init_rounds': 4,
    }
    whole = tiny_runner('whole', **options)
    whole.train()
    stopped(tiny_runner('cut', **options), 5)  # an epoch has three
    resumed = tiny_runner('cut', resume=True, **options)
    resumed.train()
    assert BankFolder(Path(resumed.work_dir, 'bank')).dropped == 5 * 16
    for runner in (whole, resumed):
        assert hook_of(runner).synthesizer.memory.seen == 7 * 16
    assert_same(outcome(whole), outcome(resumed))


@pytest.mark.parametrize('kind', ['bank', 'folder'])
def test_imports_are_not_repeated(tmp_path, source, kind):
    kwargs = dict(init_bank=source(kind), capacity=8)
    shards = []
    for _ in range(3):
        bank = ImageBank(**kwargs)
        bank.open(tmp_path / 'own', (1, 8, 8), 10)
        shards.append(bank.opened.shards)
    assert [shard.name for shard in shards[0]] == ['000002.npy']
    assert shards[1] == shards[2] == shards[0]


def test_images_dropped_before_the_first_checkpoint(tiny_runner, source):
    """Its interval is more than an epoch: epoch 2 dropped what epoch 1 had."""
    options = {
        **OPTIONS,
        'train_cfg.max_epochs': 3,
        'train_dataloader.dataset.capacity': 70,
        'default_hooks.checkpoint.interval': 9,
        f'{SYNTHESIS}.rounds': 1,
    }
    whole = tiny_runner('whole', **options)
    whole.train()
    stopped(tiny_runner('cut', **options), 8)
    resumed = tiny_runner('cut', resume=True, **options)
    resumed.train()
    assert_same(outcome(whole), outcome(resumed))
    options['train_dataloader.dataset.init_bank'] = source('bank')
    options['train_dataloader.dataset.capacity'] = 24
    stopped(tiny_runner('imported', **options), 8)
    with pytest.raises(
        BankError, match='of epoch 0, and has dropped .* later'
    ):
        tiny_runner('imported', resume=True, **options).train()

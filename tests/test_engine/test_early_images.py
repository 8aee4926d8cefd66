# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Images before training, in real runs of what looks at them."""

import numpy as np
import pytest
from helpers import network
from noted_students import trained
from PIL import Image

from csd_mmrazor.datasets import BankError

SYNTHESIS = 'default_hooks.synthesis'


@pytest.mark.parametrize('rounds', [0, 1])
def test_images_that_are_imported(tiny_runner, tmp_path, rounds):
    """No initial round is needed then, nor missed by the rehearsal."""
    rng = np.random.default_rng(0)
    (tmp_path / 'own').mkdir()
    for place in range(20):
        image = rng.integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(image).save(tmp_path / f'own/{place}.png')
    options = {
        'model.architecture': network(depth=18),
        'model.teachers.teacher.build_cfg': network(depth=34),
        'model.teachers.teacher.ckpt_path': 'none',
        'custom_hooks': [dict(type='mmrazor.TeacherBlocksHook', images=20)],
        f'{SYNTHESIS}.init_rounds': 0,
        f'{SYNTHESIS}.rounds': rounds,
        'train_dataloader.dataset.init_bank': str(tmp_path / 'own'),
        'train_dataloader.dataset.init_labels': 'teacher',
    }
    runner = tiny_runner(rehearsal=True, **options)
    runner.train()
    bank = runner.train_dataloader.dataset
    assert len(bank) == 20 + rounds * 2 * 16
    if not rounds:
        return
    # They are not imported twice, and other images would be other blocks.
    options['train_dataloader.dataset.capacity'] = 16
    trained(tiny_runner('cut', **options), 1)
    with pytest.raises(BankError, match='dropped images that are needed now'):
        tiny_runner('cut', resume=True, **options).train()

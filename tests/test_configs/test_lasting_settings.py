# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the comment of the config says that others have to set beside it."""

import pytest
from helpers import ROOT
from mmengine.config import Config
from mmengine.runner import Runner

SYNTHESIS = 'default_hooks.synthesis'
FEATURE = 'model.distiller.student_recorders.feature'
NEEDED = {
    'model.data_preprocessor.augment': None,
    f'{SYNTHESIS}.target_maps': True,
    'model.aux_head.scale': 10,
    'model.aux_head.init_cfg': None,
}


@pytest.fixture
def runner(tiny_config, tmp_path):
    """A run of the quickstart's first config that takes it up."""
    path = tmp_path / 'config.py'
    path.write_text(
        f"""_base_ = [
    '{ROOT}/configs/csd/csd_quickstart_digits.py',
    '{ROOT}/configs/_base_/lasting_generator.py',
]
default_hooks = dict(
    synthesis=dict(
        rehearsal=False,
        synthesizer=dict(**_base_.lasting_generator),
    ),
)
"""
    )

    def make(options):
        few = {'train_dataloader.sampler.num_samples': 16}
        few['train_cfg.max_epochs'] = 1
        cfg = tiny_config(config=path, **few, **options)
        return Runner.from_cfg(cfg)

    return make


def without(key):
    return {k: v for k, v in NEEDED.items() if k != key}


@pytest.mark.parametrize(
    'options',
    [NEEDED, {**without(f'{SYNTHESIS}.target_maps'), FEATURE: None}],
)
def test_all_that_is_said_is_enough(runner, options):
    run = runner(options)
    run.train()
    weights = run.cfg.default_hooks.synthesis.synthesizer.losses
    assert weights.loss_csd.loss_weight == 1
    assert run.iter == 1


@pytest.mark.parametrize(
    'key, named',
    [
        ('model.data_preprocessor.augment', 'augment'),
        (f'{SYNTHESIS}.target_maps', 'target_maps'),
    ],
)
def test_what_is_left_out_is_refused(runner, key, named):
    with pytest.raises(ValueError, match=named):
        runner(without(key)).train()


@pytest.mark.parametrize('name', ['losses', 'distiller'])
def test_what_comes_with_it_cannot_stand_beside_it(tmp_path, name):
    path = tmp_path / 'config.py'
    path.write_text(
        f"_base_ = '{ROOT}/configs/_base_/lasting_generator.py'\n"
        f'synthesizer = dict({name}=None, **_base_.lasting_generator)\n'
    )
    with pytest.raises(TypeError, match=f'multiple values .*{name}'):
        Config.fromfile(path)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""MMRazor's own configs train and validate, and do so twice alike.

One of each kind here; ``CSD_MMRAZOR_ALL_ALGORITHMS=1`` runs them all.
"""

import json
import os
from pathlib import Path

import mmrazor
import pytest
import torch
import yaml
from mmengine.config import Config
from mmrazor_algorithms import (
    CONFIGS,
    SEARCHES,
    cut,
    cut_search,
    make_images,
)

ROOT = Path(mmrazor.__file__).parent / '.mim/configs'
SIZE = 32
SIZES = {
    # Position embeddings are for this size alone.
    'autoformer': 224,
    'deit-base': 224,
    # Of images of 32x32 one pixel is left, and its losses become NaN.
    'autoslim': 64,
}
CHEAP = (
    'kd/kd_logits_resnet34_resnet18_8xb32_in1k',
    'spos/spos_shufflenet_supernet_8xb128_in1k',
)
ALL = os.environ.get('CSD_MMRAZOR_ALL_ALGORITHMS') == '1'
NAMES = [
    (f'{group}/{name}', options)
    for group, configs in CONFIGS.items()
    for name, options in configs.items()
    if name in CHEAP or ALL
]


def size_of(name):
    """Of the images that a config is cut to."""
    return SIZES.get(name.split('/')[-1].split('_')[0], SIZE)


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    make_images(folder, SIZE)
    return folder


def results(folder):
    """What a run has logged, without times, and the weights it has saved."""
    (log,) = folder.glob('*/vis_data/scalars.json')
    logged = [
        {
            key: value
            for key, value in json.loads(line).items()
            if not key.endswith('time') and key != 'memory'
        }
        for line in log.read_text().splitlines()
    ]
    states = {
        path.name: torch.load(path, weights_only=False)['state_dict']
        for path in folder.glob('*.pth')
    }
    return logged, states


@pytest.mark.parametrize(
    'name, options', NAMES, ids=[name.split('/')[-1] for name, _ in NAMES]
)
def test_two_iterations_and_a_validation(
    name, options, images, forked, tmp_path
):
    cfg = Config.fromfile(ROOT / f'{name}.py')
    cut(cfg, images, size_of(name))
    cfg.merge_from_dict(options)
    cfg.dump(tmp_path / 'config.py')
    found = []
    for run in ('one', 'two'):
        done = forked(
            tmp_path / 'config.py', '--work-dir', tmp_path / run, timeout=600
        )
        assert done.status == [0], done.output[-3000:]
        found.append(results(tmp_path / run))
    (logged, states), (logged_again, states_again) = found
    assert logged == logged_again
    steps = [line for line in logged if any('loss' in key for key in line)]
    assert len(steps) == 2
    assert any(any('accuracy' in key for key in line) for line in logged)
    assert 'nan' not in json.dumps(logged).lower()
    assert states and states.keys() == states_again.keys()
    for name, state in states.items():
        assert state.keys() == states_again[name].keys()
        for key, value in state.items():
            assert value.isfinite().all(), f'{name}: {key}'
            assert torch.equal(value, states_again[name][key]), key


@pytest.mark.skipif(not ALL, reason='a small one is in test_mmrazor_searches')
@pytest.mark.parametrize('name', SEARCHES)
def test_searches(name, images, forked, tmp_path):
    cfg = Config.fromfile(ROOT / f'nas/mmcls/{name}.py')
    cut_search(cfg, images, size_of(name), SEARCHES[name])
    cfg.dump(tmp_path / 'config.py')
    is_test = cfg.train_cfg is None  # that of AutoSlim
    done = forked(
        tmp_path / 'config.py',
        *(['none'] if is_test else []),
        '--work-dir',
        tmp_path / 'run',
        tool='test.py' if is_test else 'train.py',
        timeout=600,
    )
    assert done.status == [0], done.output[-3000:]
    subnets = [*(tmp_path / 'run').glob('*.yaml')]
    assert subnets
    for subnet in subnets:
        assert yaml.safe_load(subnet.read_text())

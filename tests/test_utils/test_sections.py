# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Sections that MMEngine would pass over, in files and in options."""

import copy
import math
import re

import pytest
from helpers import ROOT, load
from mmengine.config import Config

from csd_mmrazor.cli import config
from csd_mmrazor.cli.config import check_training
from csd_mmrazor.utils.config_files import read_config
from csd_mmrazor.utils.sections import OF_NETWORKS, check_sections

QUICKSTART = ROOT / 'configs/csd/csd_quickstart_digits.py'
STUDENT = 'optim_wrapper.architecture'
CLIP = f'{STUDENT}.clip_grad'
IN_PART = rf'belongs to no part.*Set {STUDENT}\.'
KEYS = f'{STUDENT}.paramwise_cfg.custom_keys'


@pytest.fixture(scope='module')
def dumped(tmp_path_factory):
    """The quickstart's config in one file, with its variables."""
    path = tmp_path_factory.mktemp('config') / 'config.py'
    read_config(QUICKSTART).dump(path)
    return path


@pytest.fixture(scope='module')
def quickstart():
    return read_config(QUICKSTART)


@pytest.fixture
def read_once(quickstart, monkeypatch):
    """Spares each case the reading of the same file."""
    monkeypatch.setattr(
        config, 'read_config', lambda _: copy.deepcopy(quickstart)
    )


# What a file adds, and what is said.
IN_FILES = {
    'defualt_hooks = dict(timer=None)': 'default_hooks',
    'optim_wraper = dict(clip_grad=None)': 'optim_wrapper',
    'Default_Hooks = dict(timer=None)': 'default_hooks',
    'TRAIN_CFG = dict(max_epochs=3)': 'train_cfg',
    'trainCfg = dict(max_epochs=3)': 'train_cfg',
    'train_dataloaders = dict(batch_size=3)': 'train_dataloader',
    'val_evaluators = dict()': 'val_evaluator',
    'custom_hook = []': 'custom_hooks',
    'load_form = "a.pth"': 'load_from',
    'find_unused_parameter = True': 'find_unused_parameters',
    'randomnes = dict(seed=3)': 'randomness',
    '_bases_ = ["a.py"]': '_base_',
    'seed = 3': r'randomness\.seed',
    'optimizer = dict(type="SGD", lr=9)': r'optim_wrapper\.optimizer',
    'resume_from = "a.pth"': 'load_from',
    'lr_config = dict(policy="step")': 'param_scheduler',
}


@pytest.mark.parametrize('text', IN_FILES)
@pytest.mark.parametrize('place', ['file', 'base'])
def test_a_misspelt_section_of_a_file(tmp_path, dumped, text, place):
    base = f'_base_ = {str(dumped)!r}\n'
    if place == 'file':
        (tmp_path / 'a.py').write_text(base + text)
    else:
        (tmp_path / 'b.py').write_text(base + text)
        (tmp_path / 'a.py').write_text('_base_ = "b.py"\n')
    name = text.split()[0]
    if name == '_bases_':
        (tmp_path / 'a.py').write_text(text)
    with pytest.raises(
        ValueError, match=f'has {name}, .* mean {IN_FILES[text]}'
    ):
        load(tmp_path / 'a.py')


@pytest.mark.parametrize(
    'text',
    [
        'my_rounds = 3',
        'train_pipeline = []\nnote = "for me"',
        # Almost sections, but used.
        'optim_wrapper_cfg = dict(a=1)\nb = optim_wrapper_cfg["a"]',
        'optimizer = dict(type="SGD", lr=1)\nmine = dict(optimizer=optimizer)',
        'default_hooks = dict(visualization=dict(type="IterTimerHook"))',
        'default_hooks = dict(logger2=dict(type="IterTimerHook"))',
        'visualizer = None\nlog_processor = None',
        f'{CLIP.split(".")[0]} = dict(architecture=dict('
        'clip_grad=dict(max_norm=float("inf"))))',
        'env_cfg = dict(cudnn_benchmark=True, dist_cfg=dict(timeout=1800))',
        'val_dataloader = None\nval_cfg = None\nval_evaluator = None',
    ],
)
def test_a_file_that_is_right(tmp_path, dumped, text):
    (tmp_path / 'a.py').write_text(f'_base_ = {str(dumped)!r}\n{text}')
    load(tmp_path / 'a.py')


def test_a_config_of_mmcls_0_for_its_network(tmp_path):
    """What it says of training does not count."""
    path = tmp_path / 'a.py'
    path.write_text('model = dict()\noptimizer = dict(lr=9)\ntrain_cfgs = 1')
    assert 'optimizer' in read_config(path, OF_NETWORKS)
    path.write_text('model = dict()\ndata_preprocesor = dict(mean=[1])')
    with pytest.raises(ValueError, match='mean data_preprocessor'):
        read_config(path, OF_NETWORKS)


def test_a_base_whose_variables_are_used_elsewhere(tmp_path):
    (tmp_path / 'b.py').write_text('seed = 3\noptim_wrappers = dict(a=1)')
    (tmp_path / 'a.py').write_text(
        '_base_ = "b.py"\nrandomness = dict(seed=_base_.seed)\n'
        'mine = {{_base_.optim_wrappers}}'
    )
    assert read_config(tmp_path / 'a.py').randomness.seed == 3


def test_a_config_that_a_run_wrote(tmp_path):
    """There variables are beside sections, and nothing uses them."""
    (tmp_path / 'a.py').write_text(
        'optimizer = dict(type="SGD", lr=1)\nseed = 5\n'
        'optim_wrapper = dict(optimizer=optimizer)\n'
        'randomness = dict(seed=seed)'
    )
    read_config(tmp_path / 'a.py').dump(tmp_path / 'b.py')
    assert read_config(tmp_path / 'b.py').seed == 5


def test_other_formats(tmp_path):
    (tmp_path / 'a.json').write_text('{"model": {}, "defualt_hooks": {}}')
    with pytest.raises(ValueError, match='Did you mean default_hooks'):
        read_config(tmp_path / 'a.json')


def test_configs_of_libraries_are_as_they_are():
    """MMRazor's own have a misspelt section; they run as ever."""
    import mmrazor

    path = (
        f'{mmrazor.__path__[0]}/.mim/configs/nas/mmcls/darts/'
        'darts_supernet_unroll_1xb96_cifar10.py'
    )
    assert 'find_unused_parameter' in read_config(path)


# Option, value, and what is said.
OPTIONS = [
    # ---- misspelt
    ('env_cfg.cudnn_benchmrk', True, 'mean env_cfg.cudnn_benchmark'),
    ('env_cfg.mp_cfg.mp_start', 'fork', 'env_cfg.mp_cfg has no argument'),
    ('env_cfg.dist_cfg.backand', 'gloo', 'mean env_cfg.dist_cfg.backend'),
    ('auto_scale_lr.base_batchsize', 8, 'auto_scale_lr.base_batch_size'),
    ('auto_scale_lr.enabled', True, 'mean auto_scale_lr.enable'),
    ('randomness.seeds', 3, 'mean randomness.seed'),
    ('randomness.determinstic', True, 'mean randomness.deterministic'),
    ('train_cfg.max_epoch', 3, 'mean train_cfg.max_epochs'),
    ('train_cfg.val_intervall', 3, 'mean train_cfg.val_interval'),
    ('val_cfg.fp_16', True, 'mean val_cfg.fp16'),
    ('train_dataloader.batchsize', 3, 'mean train_dataloader.batch_size'),
    ('val_dataloader.num_worker', 3, 'mean val_dataloader.num_workers'),
    ('log_processor.windowsize', 3, 'mean log_processor.window_size'),
    ('default_hooks.loger.interval', 3, 'mean default_hooks.logger'),
    ('default_hooks.Timer.type', 'IterTimerHook', 'mean default_hooks.timer'),
    ('default_hooks.mine.interval', 3, 'default_hooks.mine has no type'),
    (f'{CLIP}.max_nrom', 3, f'mean {CLIP}.max_norm'),
    (f'{CLIP}.norm_type', 2, f'{CLIP} has no max_norm'),
    (f'{STUDENT}.paramwise_cfg.norm_decay', 0, 'norm_decay_mult'),
    ('trian_cfg.max_epochs', 3, 'mean train_cfg.max_epochs'),
    ('Train_Cfg.max_epochs', 3, 'mean train_cfg.max_epochs'),
    ('TRAIN_CFG.max_epochs', 3, 'mean train_cfg.max_epochs'),
    ('modle.type', 'a', 'mean model.type'),
    ('param_scheduler.architecure.T_max', 3, 'architecture'),
    # ---- of another type
    ('env_cfg.cudnn_benchmark', 'no', 'cudnn_benchmark .* True or False'),
    ('env_cfg.mp_cfg.mp_start_method', 'frok', "'fork' or"),
    ('env_cfg.mp_cfg.opencv_num_threads', 'a', 'an integer'),
    ('auto_scale_lr.enable', 'off', 'enable should be True or False'),
    ('auto_scale_lr.base_batch_size', '8x', 'base_batch_size .* integer'),
    ('randomness.deterministic', 'yes', 'deterministic should be True'),
    ('randomness.seed', 'abc', "seed should be an integer .* 'abc'"),
    ('randomness.seed', 1.5, 'seed should be an integer'),
    ('randomness.seed', [1, 2], 'seed should be an integer'),
    ('randomness.seed', -1, 'seed should be from 0 to'),
    ('randomness.seed', 2**32, 'seed should be from 0 to'),
    ('train_dataloader.batch_size', '16x', 'batch_size .* integer'),
    ('train_dataloader.batch_size', [1, 2], 'batch_size .* integer'),
    ('train_dataloader.num_workers', 'two', 'num_workers .* integer'),
    ('train_dataloader.drop_last', 'no', 'drop_last should be True or False'),
    ('val_dataloader.pin_memory', 'off', 'pin_memory should be True or'),
    ('train_cfg.val_interval', 'a', 'val_interval should be an integer'),
    ('train_cfg.max_epochs', 'ten', 'max_epochs should be an integer'),
    ('train_cfg.max_epochs', math.nan, 'max_epochs should be an integer'),
    ('val_cfg.fp16', 'no', 'fp16 should be True or False'),
    ('log_processor.by_epoch', 'no', 'by_epoch should be True or False'),
    (f'{CLIP}.max_norm', 'big', 'max_norm should be a finite number'),
    (f'{CLIP}.max_norm', math.nan, 'max_norm should be a finite number'),
    (CLIP, 5, 'clip_grad should be a dict or None, but got 5'),
    ('optim_wrapper.type', 'AmpOptimWrapper', IN_PART + r'type and .*head\.t'),
    ('optim_wrapper.accumulative_counts', 4, IN_PART + 'accumulative_counts'),
    ('optim_wrapper.clip_grad.max_norm', 1, IN_PART + 'clip_grad'),
    ('optim_wrapper.optimizer.lr', 1, IN_PART + 'optimizer'),
    ('optim_wrapper.paramwise_config', {}, IN_PART + 'paramwise_cfg'),
    ('optim_wrapper.aux_head', None, 'aux_head=None has no optimizer: set'),
    (KEYS, dict(backbone=0.1), r"keys\['backbone'\] should be a dict"),
    (KEYS, dict(backbone=dict(lr_mul=0)), r'mean .*\.lr_mult\? There are'),
    (KEYS, dict(backbone=dict(lr_mult='0')), 'lr_mult should be a finite'),
    ('resume', 'no', 'resume should be True or False'),
    ('compile', 'no', 'compile should be True or False'),
    ('find_unused_parameters', 'no', 'find_unused_parameters should be'),
    ('load_from', [1, 2], 'load_from should be a text or None'),
    # ---- in place of a section
    ('model', None, 'model should be a dict, but got None'),
    ('model', 'resnet', 'model should be a dict or None'),
    ('env_cfg', None, 'env_cfg should be a dict, but got None'),
    ('randomness', None, 'randomness should be a dict, but got None'),
    ('train_cfg', None, 'has no train_cfg'),
    ('optim_wrapper', None, 'has no optim_wrapper'),
    ('val_dataloader', 'none', "should be a dict or None, but got 'none'"),
    ('custom_hooks', 'EMAHook', 'custom_hooks should be a list or None'),
    ('default_hooks.checkpoint', None, 'nothing would be left of the st'),
    ('default_hooks.synthesis', None, 'synthesis should be a dict.*rounds=0'),
    ('default_hooks.synthesis', [1], 'synthesis should be a dict or None'),
    ('model.aux_head', 'no', "aux_head should be a dict .* got 'no'"),
    ('model.type.a', 3, "model.type is 'CSDDistillation', which has no a"),
    ('visualizer.vis_backends.type', 'a', 'vis_backends is a list of 1'),
    ('visualizer.vis_backends.0', 'a', r'vis_backends=\[\.\.\.\]'),
    ('model.data_preprocessor.mean.0', 3.0, r'given as a whole: .*mean=\['),
    ('auto_scale_lr.base_batch_size', 0, 'base_batch_size .* positive'),
    ('visualizer.vis_backends.3.type', 'a', 'vis_backends.0 is its first'),
]


@pytest.mark.parametrize(
    'option, value, said', OPTIONS, ids=[f'{o}={v}' for o, v, _ in OPTIONS]
)
def test_an_option_that_is_wrong(read_once, option, value, said):
    with pytest.raises(ValueError) as error:
        check_training(load(QUICKSTART, **{option: value}))
    assert re.search(said, str(error.value))


@pytest.mark.parametrize(
    'option, value',
    [
        ('default_hooks.timer', None),
        ('default_hooks.logger', None),
        ('compile', True),
        ('compile.mode', 'default'),
        ('randomness.seed', None),
        ('env_cfg.mp_cfg.mp_start_method', 'spawn'),
        ('env_cfg.dist_cfg.timeout', 60),
        (f'{CLIP}.max_norm', 1),
        (f'{STUDENT}.paramwise_cfg.norm_decay_mult', 0.0),
        (KEYS, dict(backbone=dict(lr_mult=0, momentum=0.5))),
        ('model.aux_head', None),
        ('model.data_preprocessor.augment', None),
        ('param_scheduler', None),
        ('train_dataloader.persistent_workers', False),
        ('train_cfg.type', 'mine.Loop'),
    ],
)
def test_an_option_that_is_right(read_once, option, value):
    load(QUICKSTART, **{option: value})


def test_clipping_by_value_has_arguments_of_its_own():
    cfg = dict(optimizer=dict(type='SGD'), clip_grad=dict(type='value'))
    with pytest.raises(ValueError, match='has no clip_value'):
        check_sections(Config(dict(optim_wrapper=cfg)))
    cfg['clip_grad']['clip_value'] = 0.5
    check_sections(Config(dict(optim_wrapper=cfg)))


@pytest.mark.parametrize(
    'change, said',
    [
        (lambda s: s.update(head=s.aux_head), 'has head, which optim_wrapper'),
        (lambda s: s.pop('aux_head'), 'has no aux_head'),
    ],
)
def test_schedules_are_those_of_the_optimizers(change, said):
    cfg = load(QUICKSTART)
    check_training(cfg)
    change(cfg.param_scheduler)
    with pytest.raises(ValueError, match=said):
        check_training(cfg)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Baselines and mixes, each through real steps of its own Runner."""

import json
import re
import uuid
from functools import partial
from pathlib import Path

import mmrazor
import numpy as np
import pytest
import torch
import yaml
from helpers import ROOT, build
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.models.utils import bn_layers

CONFIGS = ROOT / 'configs'
# What a config is to log, beside its losses' being finite.
OF_SYNTHESIS = {
    'adversarial': ['loss_oh', 'loss_bn', 'loss_adv'],
    'deepinversion': [
        'loss_oh',
        'loss_bn',
        'loss_tv',
        'loss_l2',
        'loss_competition',
    ],
    'cmi': ['loss_oh', 'loss_bn', 'loss_adv', 'loss_cr'],
    'fast': ['loss_oh', 'loss_bn', 'loss_adv'],
    'dfq': ['loss_oh', 'loss_bn', 'loss_adv', 'loss_balance'],
}
OF_MIX = {
    'dafl_with_csd_generator': ['generator.loss_ie', 'distill.loss_kl'],
    'csd_with_dafl_generator': ['synthesis/loss_csd', 'distill.loss_kd'],
    'csd_with_attention_transfer': [
        'distill.loss_at1',
        'distill.loss_at2',
        'distill.loss_feature',
    ],
    'csd_with_dafl_losses': [
        'synthesis/loss_activation',
        'synthesis/loss_entropy',
        'synthesis/loss_csd',
    ],
    'kd_with_aux_task': [
        'student.loss',
        'student.loss_aux',
        'distill.loss_kl',
    ],
    'kd_on_bank': ['synthesis/loss_adv', 'student.loss', 'distill.loss_kl'],
    'csd_with_meta_generator': ['synthesis/loss_csd', 'distill.loss_kd'],
    'csd_two_teachers': ['distill.loss_kd', 'distill.loss_kd2'],
}


def save_teacher(cfg, path):
    torch.manual_seed(len(path.name))
    teacher = build(cfg)
    teacher.init_weights()
    if cfg.backbone.type == 'mmrazor.CIFARResNet':
        # Statistics as of a network that has seen images; without them the
        # maps of so many layers grow.
        for layer in bn_layers(teacher):
            layer.momentum = None
        with torch.no_grad():
            teacher.train()(torch.randn(8, 3, 32, 32))
    torch.save(dict(state_dict=teacher.state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Teachers, and CIFAR-10 in ImageFolder layout, two images a class."""
    root = tmp_path_factory.mktemp('files')
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for name in ('airplane', 'cat', 'truck'):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f'{number}.png')
    digits = Config.fromfile(CONFIGS / '_base_/digits.py').teacher_net
    for name in ('digits', 'digits_1'):
        save_teacher(digits, root / f'{name}.pth')
    for name, pair in (
        ('wrn', 'wrn40-2_wrn16-1'),
        ('resnet56', 'resnet56_resnet20'),
    ):
        teacher = Config.fromfile(CONFIGS / f'csd/csd_{pair}_cifar10.py')
        teacher = teacher.model.teachers.teacher.build_cfg
        save_teacher(teacher, root / f'{name}.pth')
    from mmengine.hub import get_model

    resnet = get_model('mmpretrain::resnet/resnet34_8xb16_cifar10.py')
    resnet.init_weights()
    torch.save(dict(state_dict=resnet.state_dict()), root / 'resnet34.pth')
    return root


def reduced(cfg, files):
    """Options that leave a few steps of everything, and no other change."""
    options = {
        'default_hooks.logger.interval': 1,
        'train_dataloader.num_workers': 0,
        'val_dataloader.num_workers': 0,
        'train_dataloader.batch_size': 4,
        'env_cfg.mp_cfg.mp_start_method': 'fork',
    }
    if 'Digits' in cfg.train_dataloader.dataset.type:
        options['train_dataloader.dataset.indices'] = 8
    if 'synthesis' in cfg.default_hooks:
        options.update(
            {
                'default_hooks.synthesis.init_rounds': 1,
                'default_hooks.synthesis.rounds': min(
                    2 * cfg.default_hooks.synthesis.rounds, 2
                ),
                'default_hooks.synthesis.init_iters': 2,
                'default_hooks.synthesis.synthesizer.iters': 2,
                'default_hooks.synthesis.synthesizer.batch_size': 4,
                'train_dataloader.sampler.num_samples': 8,
            }
        )
        if cfg.default_hooks.synthesis.synthesizer.get('num_images'):
            # Images are dropped when newer ones are there.
            options['train_dataloader.dataset.capacity'] = 12
            options['default_hooks.synthesis.init_rounds'] = 0
            key = 'default_hooks.synthesis.synthesizer.num_images'
            options[key] = 4
    if cfg.train_cfg.by_epoch:
        options['train_cfg.max_epochs'] = 1
    else:
        options.update(
            {
                'train_cfg.max_iters': 2,
                'train_cfg.val_interval': 2,
                'default_hooks.checkpoint.interval': 2,
            }
        )
        # A schedule may not start after its end.
        for index, scheduler in enumerate(
            cfg.param_scheduler.architecture
            if isinstance(cfg.param_scheduler.architecture, list)
            else []
        ):
            key = f'param_scheduler.architecture.{index}'
            name = 'begin' if 'begin' in scheduler else 'end'
            options[f'{key}.{name}'] = 1
    model = cfg.model
    digits = 'Digits' in cfg.val_dataloader.dataset.type
    if 'teacher_ckpt' in model:
        options['model.teacher_ckpt'] = f'{files}/digits.pth'
    for index, (name, teacher) in enumerate(model.get('teachers', {}).items()):
        key = f'model.teachers.{name}'
        pair = 'wrn' if 'WideResNet' in str(teacher) else 'resnet56'
        file = 'digits' + '_1' * index if digits else pair
        if name == 'res34':
            file = 'resnet34'
            options[f'{key}.build_cfg.pretrained'] = False
        options[f'{key}.ckpt_path'] = f'{files}/{file}.pth'
    if not digits:
        # The digits' runs are rehearsed.
        if 'synthesis' in cfg.default_hooks:
            options['default_hooks.synthesis.rehearsal'] = False
        options['val_dataloader.dataset.data_root'] = str(files)
        options['test_dataloader.dataset.data_root'] = str(files)
    return options


def train(path, files, work_dir):
    """Two steps of a config.

    Returns:
        tuple: The runner, and all that it logged.
    """
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(reduced(cfg, files))
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    cfg.experiment_name = uuid.uuid4().hex
    runner = Runner.from_cfg(cfg)
    student = runner.model.student
    before = {k: v.clone() for k, v in student.named_parameters()}
    runner.train()
    logged = {}
    for file in Path(work_dir).glob('*/vis_data/scalars.json'):
        for line in file.read_text().splitlines():
            logged.update(json.loads(line))
    losses = [v for k, v in logged.items() if 'loss' in k]
    assert losses and np.isfinite(losses).all()
    assert 0 <= logged['accuracy/top1'] <= 100
    after = dict(student.named_parameters())
    moved = [
        name for name in before if not torch.equal(before[name], after[name])
    ]
    assert len(moved) > len(before) / 2
    return runner, logged


@pytest.mark.parametrize('name', OF_SYNTHESIS)
def test_related_methods_on_digits(name, files, tmp_path):
    path = CONFIGS / f'baselines/{name}_digits.py'
    runner, logged = train(path, files, tmp_path)
    for term in OF_SYNTHESIS[name]:
        assert f'synthesis/{term}' in logged
    assert 'synthesis/loss_csd' not in logged
    assert runner.model.aux_head is None
    rounds = 2 if name == 'dfq' else 3
    assert len(BankFolder(tmp_path / 'bank')) == rounds * 4
    states = [path.name for path in (tmp_path / 'bank').glob('state_*')]
    assert bool(states) is (name in ('cmi', 'fast', 'dfq'))


@pytest.mark.parametrize(
    'name',
    [
        *('cmi', 'deepinversion', 'deepinversion-1k', 'dfq', 'fast2', 'fast5'),
        'fast10',
    ],
)
def test_related_methods_on_cifar10(name, files, tmp_path):
    path = CONFIGS / f'baselines/{name}_wrn40-2_wrn16-1_cifar10.py'
    runner, logged = train(path, files, tmp_path)
    for term in OF_SYNTHESIS[re.match('[a-z]+', name)[0]]:
        if (name, term) == ('deepinversion-1k', 'loss_l2'):
            continue
        assert f'synthesis/{term}' in logged
    # The student learns from the teacher's logits alone.
    assert {key for key in logged if key.startswith(('dist', 'stud'))} == {
        'distill.loss_kd'
    }


OF_PAIR = dict(cmi='cmi', deepinversion='deepinversion', dfq='dfq')
OF_PAIR['fast'] = 'fast10'
OF_PAIR['nayer-random-embeddings'] = 'nayer-random-embeddings'


@pytest.mark.parametrize('name', OF_PAIR)
def test_the_other_pair_differs_in_its_networks_alone(name):
    cfgs = [
        Config.fromfile(CONFIGS / f'baselines/{stem}_cifar10.py').to_dict()
        for stem in (
            f'{name}_resnet56_resnet20',
            f'{OF_PAIR[name]}_wrn40-2_wrn16-1',
        )
    ]
    csd = Config.fromfile(CONFIGS / 'csd/csd_resnet56_resnet20_cifar10.py')
    for part in ('architecture', 'teachers'):
        assert cfgs[0]['model'][part] == csd.to_dict()['model'][part]
    for cfg in cfgs:
        generator = cfg['default_hooks']['synthesis']['synthesizer'][
            'generator'
        ]
        for key in ('mean', 'std'):
            inputs = [
                cfg['data_preprocessor'].pop(key),
                cfg['model']['data_preprocessor'].pop(key),
                *([generator.pop(key)] if key in generator else []),
            ]
            assert all(each == inputs[0] for each in inputs)
            if cfg is cfgs[0]:
                assert inputs[0] == csd.data_preprocessor[key]
        for part in ('architecture', 'teachers'):
            del cfg['model'][part]
        # Variables of the files.
        for variable in ('pair', 'inputs', 'student', 'teacher'):
            cfg.pop(variable, None)
    assert cfgs[0] == cfgs[1]


# What each logs of synthesis.
OTHERS = {
    'nayer-random-embeddings': ['loss_oh', 'loss_bn', 'loss_adv'],
    'dafl': ['loss_oh', 'loss_balance', 'loss_activation'],
    'zskt': ['loss_adv'],
    'dfad': ['loss_adv'],
    'adversarial': ['loss_oh', 'loss_bn', 'loss_adv'],
    'untrained-generator': ['loss_oh'],
    'noise': ['loss_oh'],
}


@pytest.mark.parametrize('name', OTHERS)
def test_a_step_on_the_other_pair(name, files, tmp_path):
    path = CONFIGS / f'baselines/{name}_resnet56_resnet20_cifar10.py'
    runner, logged = train(path, files, tmp_path)
    found = {key.split('/')[1] for key in logged if '/loss_' in key}
    assert found == set(OTHERS[name])
    teacher = runner.model.teachers['teacher']
    assert (teacher.backbone.depth, runner.model.student.backbone.depth) == (
        56,
        20,
    )


@pytest.mark.parametrize('name', ['dafl', 'zskt', 'dfad'])
@pytest.mark.parametrize(
    'variant', ['digits', 'no-images_resnet34_resnet18_cifar10']
)
def test_those_of_mmrazor(name, variant, files, tmp_path):
    path = CONFIGS / f'baselines/{name}_{variant}.py'
    runner, logged = train(path, files, tmp_path)
    assert any(key.startswith('generator.loss') for key in logged)
    assert type(runner.train_dataloader.dataset).__name__ == 'DummyImages'


@pytest.mark.parametrize('name', ['dafl', 'zskt', 'dfad'])
def test_those_of_mmrazor_resume_exactly(name, files, tmp_path):
    """The noise of a step is that of a run that was never stopped."""
    states = []
    for start in (None, tmp_path / 'whole/iter_2.pth'):
        cfg = Config.fromfile(CONFIGS / f'baselines/{name}_digits.py')
        cfg.merge_from_dict(reduced(cfg, files))
        cfg.train_cfg.max_iters = cfg.train_cfg.val_interval = 4
        cfg.default_hooks.checkpoint.max_keep_ckpts = -1
        if start is not None:
            cfg.resume, cfg.load_from = True, str(start)
        cfg.work_dir = str(tmp_path / ('rest' if start else 'whole'))
        cfg.launcher, cfg.experiment_name = 'none', uuid.uuid4().hex
        runner = Runner.from_cfg(cfg)
        runner.train()
        assert runner.iter == 4
        states.append(runner.model.state_dict())
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_a_validation_between_steps_is_repeated(files, tmp_path):
    """A run may have been killed in it, after its checkpoint."""
    validated = []
    for start in (None, tmp_path / 'run/iter_2.pth'):
        cfg = Config.fromfile(CONFIGS / 'baselines/zskt_digits.py')
        cfg.merge_from_dict(reduced(cfg, files))
        cfg.train_cfg.update(max_iters=4, val_interval=2)
        cfg.default_hooks.checkpoint.update(
            type='mmrazor.DurableCheckpointHook', max_keep_ckpts=-1
        )
        if start is not None:
            cfg.resume, cfg.load_from = True, str(start)
        cfg.work_dir = str(tmp_path / 'run')
        cfg.launcher, cfg.experiment_name = 'none', uuid.uuid4().hex
        runner = Runner.from_cfg(cfg)
        runner.val_loop.run = partial(
            lambda runner: validated.append(runner.iter), runner
        )
        runner.train()
    assert validated == [2, 4, 2, 4]


@pytest.mark.parametrize('name', ['dafl', 'zskt', 'dfad'])
def test_those_of_mmrazor_are_unmodified(name, tmp_path):
    ours = Config.fromfile(
        CONFIGS / f'baselines/{name}_resnet34_resnet18_cifar10.py'
    )
    folder = f'distill/mmcls/{name}'
    (path,) = (Path(mmrazor.__file__).parent / f'.mim/configs/{folder}').glob(
        '*.py'
    )
    plain = tmp_path / 'plain.py'
    plain.write_text(f"_base_ = 'mmrazor::{folder}/{path.name}'")
    ours, theirs = ours.to_dict(), Config.fromfile(plain).to_dict()
    for cfg in (ours, theirs):
        for loader in ('train', 'val', 'test'):
            del cfg[f'{loader}_dataloader']['dataset']['type']
            del cfg[f'{loader}_dataloader']['dataset']['data_root']
    del ours['custom_imports']
    assert ours == theirs


def test_mmrazors_in_two_processes(files, tmp_path, forked):
    """DAFL on CIFAR-10 in ImageFolder layout, in two processes with gloo."""
    path = CONFIGS / 'baselines/dafl_resnet34_resnet18_cifar10.py'
    options = reduced(Config.fromfile(path), files)
    options['train_dataloader.dataset.data_root'] = str(files)
    options['train_dataloader.batch_size'] = 2
    done = forked(
        *(path, '--work-dir', 'run'),
        *('--cfg-options', *(f'{k}={v}' for k, v in options.items())),
        processes=2,
    )
    assert done.status == [0, 0], done.output[-3000:]
    assert (tmp_path / 'run/iter_2.pth').exists()


@pytest.mark.parametrize('name', OF_MIX)
def test_mixes(name, files, tmp_path):
    runner, logged = train(
        CONFIGS / f'interop/{name}_digits.py', files, tmp_path
    )
    for key in OF_MIX[name]:
        assert key in logged, sorted(logged)
    model = runner.model
    if name == 'csd_two_teachers':
        first, second = (
            teacher.head.fc.weight for teacher in model.teachers.values()
        )
        assert not torch.equal(first, second)
    if name == 'csd_with_attention_transfer':
        connector = model.distiller.connectors['align']
        assert type(connector).__name__ == 'ConvModuleConnector'
    if name == 'kd_with_aux_task':
        assert type(runner.train_dataloader.dataset).__name__ == 'Digits'
    if name == 'kd_on_bank':
        assert type(model).__name__ == 'SingleTeacherDistill'
        assert len(BankFolder(tmp_path / 'bank')) == 12


def test_every_mix_says_what_it_shows():
    files = {path.stem for path in (CONFIGS / 'interop').glob('*.py')}
    assert len(files) >= 6
    assert files == {f'{name}_digits' for name in OF_MIX}
    for path in (CONFIGS / 'interop').glob('*.py'):
        assert path.read_text().startswith('# Shows: ')


def test_published_numbers_have_a_source():
    """No figure in the metafile is claimed as measured here."""
    name = 'configs/baselines/metafile.yml'
    # So what it lists is checked as for all configs.
    assert f'- {name}\n' in (ROOT / 'model-index.yml').read_text()
    content = yaml.safe_load((ROOT / name).read_text())
    for model in content['Models']:
        assert 'Results' not in model
        published = model['Metadata'].get('Published')
        if published:
            assert published['Source']
            assert 50 < published['Top 1 Accuracy'] < 100
    listed = {model['Config'] for model in content['Models']}
    assert listed == {
        path.relative_to(ROOT).as_posix()
        for path in (CONFIGS / 'baselines').glob('*.py')
    }


@pytest.mark.parametrize(
    'budget, methods',
    [
        ('small', 20),
        ('large', 16),
        ('medium', 2),
        ('quarter', 8),
        ('sixteenth', 1),
        ('thirtysecond', 1),
        ('gpu', 2),
    ],
)
def test_the_lists_set_what_there_is(budget, methods):
    """Each option has its place in its config; each method is there once."""
    path = ROOT / f'docs/results/cifar10_resnet56_{budget}.yml'
    plan = yaml.safe_load(path.read_text())
    assert len(plan['methods']) == methods
    assert plan['budget'] == dict(gpu='paper').get(budget, budget)
    for method in plan['methods'].values():
        cfg = Config.fromfile(ROOT / method['config'])
        for key in {**plan['options'], **method['options']}:
            part, _, last = key.rpartition('.')
            if f'{part}._delete_' in method['options']:
                part, _, last = part.rpartition('.')  # a part of another type
            node = cfg
            for name in part.split('.') if part else ():
                node = node[int(name) if name.isdigit() else name]
            # What configs do not name is off.
            unnamed = ('type', 'amp', 'compile', 'storage', 'images')
            unnamed += ('capacity',)
            assert last in node or last in unnamed, key

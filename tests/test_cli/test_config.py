# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import re
import sys
from argparse import Namespace

import pytest
from helpers import ROOT
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.runner import FlexibleRunner, Runner
from mmrazor.registry import OPTIM_WRAPPERS

from csd_mmrazor.cli import test as test_tool
from csd_mmrazor.cli import train as train_tool
from csd_mmrazor.cli.config import (
    check_own_name,
    check_teacher_files,
    check_training,
    enable_amp,
    is_csd,
    load_config,
)
from csd_mmrazor.cli.test import test as run_test
from csd_mmrazor.models import CSDDistillation
from csd_mmrazor.utils import slow_bfloat16


@pytest.mark.parametrize(
    'kind, found',
    [
        ('CSDDistillation', True),
        ('mmrazor.CSDDistillation', True),
        (CSDDistillation, True),
        ('SingleTeacherDistill', False),
        (None, False),
    ],
)
def test_whether_it_is_ours(kind, found):
    """By name or by class, as configs in pure Python have it."""
    assert is_csd(Config(dict(model=dict(type=kind)))) is found


@pytest.mark.parametrize(
    'name, argument',
    [
        ('interop/kd_on_bank_digits', 'model.teacher_ckpt'),
        ('baselines/dfad_digits', 'model.teachers.teacher.ckpt_path'),
    ],
)
def test_who_makes_the_teacher_of_another_algorithm(
    name, argument, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    message = (
        f'{argument}=work_dirs/.* does not exist. Make it by .*, or name a '
        f'checkpoint of the network: --cfg-options {argument}=FILE'
    )
    with pytest.raises(FileNotFoundError, match=message):
        check_teacher_files(Config.fromfile(ROOT / f'configs/{name}.py'))


@pytest.mark.parametrize(
    'name, value',
    [
        ('runner_type', 'FlexibleRunner'),
        ('runner_type', FlexibleRunner),
        ('strategy', dict(type='FSDPStrategy')),
    ],
)
def test_another_runner(name, value):
    """MMEngine builds none of what these name, and says nothing."""
    cfg = Config.fromfile(ROOT / 'configs/baselines/dfad_digits.py')
    cfg.launcher = 'none'
    for runner in 'mmengine.Runner', Runner:
        check_training(Config(dict(cfg, runner_type=runner, strategy=None)))
    with pytest.raises(ValueError, match=f'^{name}=.* would do nothing, .*'):
        check_training(Config(dict(cfg, **{name: value})))


@pytest.mark.parametrize('synthesizer', [5, 'x', None, [1]])
def test_no_precision_for_what_is_no_synthesizer(synthesizer):
    """The hook says what is wrong with it."""
    hooks = dict(synthesis=dict(synthesizer=synthesizer), export=None)
    cfg = Config(dict(optim_wrapper={}, default_hooks=hooks))
    enable_amp(cfg, 'bfloat16')
    assert cfg.default_hooks.to_dict() == hooks


@pytest.mark.parametrize(
    'name',
    [
        'csd/csd_best_resnet56_resnet20_cifar10',
        'csd/csd_resnet50_resnet18_imagenet',
        'teachers/resnet14-32_cifar10',
        'csd/csd_quickstart_digits',
    ],
)
@pytest.mark.parametrize('before', [None, 'bfloat16', 'float16'])
def test_no_mixed_precision(name, before, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    if before is not None:
        enable_amp(cfg, before)
        assert re.search('AmpOptim|Autocast', cfg.pretty_text)
    enable_amp(cfg, 'none')
    text = cfg.pretty_text
    assert not re.search(r'AmpOptim|Autocast|amp=|loss_scale', text)
    wrappers = [cfg.optim_wrapper, *cfg.optim_wrapper.values()]
    for wrapper in wrappers:
        if isinstance(wrapper, dict) and 'optimizer' in wrapper:
            kind = OPTIM_WRAPPERS.get(wrapper.get('type', 'OptimWrapper'))
            assert kind is OptimWrapper


@pytest.mark.parametrize(
    'name', ['csd_quickstart_digits', 'csd_best_resnet56_resnet20_cifar10']
)
@pytest.mark.parametrize('slowdown, expected', [(11.7, None), (0.6, True)])
def test_no_mixed_precision_on_a_cpu_that_is_slow_in_it(
    slowdown, expected, name, monkeypatch, capsys
):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr(slow_bfloat16, 'bfloat16_slowdown', lambda: slowdown)
    cfg = Config.fromfile(ROOT / f'configs/csd/{name}.py')
    enable_amp(cfg, 'auto')
    told = capsys.readouterr().out
    assert ('--amp: this CPU takes 12 times' in told) != expected
    assert ('AutocastOptimWrapper' in cfg.pretty_text) == bool(expected)


def test_a_teacher_that_is_none(tmp_path, monkeypatch):
    """The algorithm says so, which knows what a teacher is."""
    cfg = Config.fromfile(ROOT / 'configs/csd/csd_quickstart_digits.py')
    cfg.model.teachers.teacher = 5
    cfg.dump(tmp_path / 'config.py')
    args = Namespace(
        config=str(tmp_path / 'config.py'),
        checkpoint='none',
        cfg_options=None,
        launcher='none',
        work_dir=None,
        val=None,
    )

    def build(cfg):
        raise TypeError(cfg.model.teachers)

    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', build)
    with pytest.raises(TypeError, match="{'teacher': 5}"):
        run_test(args)


def test_precision_for_optimizers_without_one():
    """However the plain wrapper is called, as by --amp none."""
    optimizer = dict(type='SGD', lr=0.1)
    parts = [
        dict(optimizer=optimizer),
        *(
            dict(type=kind, optimizer=optimizer)
            for kind in ('OptimWrapper', 'mmengine.OptimWrapper', OptimWrapper)
        ),
    ]
    named = {f'part{i}': part for i, part in enumerate(parts)}
    own = dict(type='ApexOptimWrapper', optimizer=optimizer)
    cfg = Config(dict(optim_wrapper=dict(named, own=own)))
    enable_amp(cfg, 'bfloat16')
    assert {cfg.optim_wrapper[name].type for name in named} == {
        'mmrazor.AutocastOptimWrapper'
    }
    assert cfg.optim_wrapper.own.type == 'ApexOptimWrapper'


@pytest.mark.parametrize('emulated', [True, False])
@pytest.mark.parametrize('is_old', [True, False])
def test_gpus_that_only_emulate_bfloat16(monkeypatch, emulated, is_old):
    def is_bf16_supported(including_emulation=True):
        return including_emulation or not emulated

    def before():
        return not emulated

    found = before if is_old else is_bf16_supported
    # Which MMEngine finds out once: what the CPU can do does not count.
    monkeypatch.setattr(slow_bfloat16, 'get_device', lambda: 'cuda')
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.is_bf16_supported', found)
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD'))))
    enable_amp(cfg, 'auto')
    expected = 'AmpOptimWrapper' if emulated else 'mmrazor.AutocastOptim'
    assert cfg.optim_wrapper.type.startswith(expected)


@pytest.mark.parametrize('tool', [train_tool, test_tool])
@pytest.mark.parametrize(
    'options, env, found',
    [
        ('--launcher mpi', dict(OMPI_COMM_WORLD_LOCAL_RANK='3'), '3'),
        (
            '--launcher mpi',
            dict(OMPI_COMM_WORLD_LOCAL_RANK='3', LOCAL_RANK='1'),
            '1',
        ),
        # What started all of it may be none of this run's launchers.
        ('--launcher pytorch', dict(OMPI_COMM_WORLD_LOCAL_RANK='3'), '0'),
        ('--launcher pytorch --local-rank 2', {}, '2'),
        ('', {}, '0'),
    ],
)
def test_gpus_are_numbered_as_launchers_do(
    tool, options, env, found, monkeypatch
):
    """MMEngine's DDP takes the GPU of ``LOCAL_RANK``."""
    for name in ('LOCAL_RANK', 'OMPI_COMM_WORLD_LOCAL_RANK'):
        # Of this test, to be restored after it.
        monkeypatch.setenv(name, env.get(name, ''))
        if name not in env:
            monkeypatch.delenv(name)
    argv = ['tool', 'config.py', 'a.pth'][: 2 + (tool is test_tool)]
    monkeypatch.setattr(sys, 'argv', [*argv, *options.split()])
    tool.parse_args()
    assert os.environ['LOCAL_RANK'] == found


@pytest.mark.parametrize('name', ['a.py', 'link.py'])
def test_a_config_in_its_own_work_dir(name, tmp_path):
    """A run would write over it all that it says, bases and options too."""
    path = tmp_path / 'a.py'
    if name != path.name:
        (tmp_path / name).symlink_to(path)
    for text in (
        "_base_ = './b.py'",
        'lr = 1  # tuned',
        'lr = 2 * 3',
        'import a',
    ):
        path.write_text(f'{text}\n')
        cfg = Config(dict(work_dir=str(tmp_path)), filename=tmp_path / name)
        with pytest.raises(ValueError, match=f'has the config itself, {name}'):
            check_own_name(cfg)
        check_own_name(Config(dict(work_dir='x'), filename=tmp_path / name))
    # As a run wrote it.
    for suffix in '.py', '.json', '.yml':
        path = path.with_suffix(suffix)
        Config(dict(a=dict(b='c'))).dump(path)
        cfg = Config(dict(work_dir=str(tmp_path)), filename=str(path))
        check_own_name(cfg)
    path.write_text('a: 1  # tuned\n')
    with pytest.raises(ValueError, match='has the config itself, a.yml'):
        check_own_name(cfg)


def test_tools_look_whether_a_config_is_in_its_work_dir(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text('model = dict(type="A")  # mine\n')
    args = Namespace(
        config=str(path),
        work_dir=str(tmp_path),
        cfg_options={},
        launcher='none',
    )
    with pytest.raises(ValueError, match='has the config itself, a.py'):
        load_config(args)

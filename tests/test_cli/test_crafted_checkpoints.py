# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Files that would run code, through the tools that read them."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from helpers import dump
from mmengine.config import Config

from csd_mmrazor.cli.export_student import export, parse_args

CODE = "__import__('os').mkdir('PWNED')"
CLASSIFIER = 'mmrazor.TorchClassifier'
TEACHER = 'model.teachers.teacher.ckpt_path'


class Marker:
    """A crafted pickle: whoever loads it makes a folder."""

    def __reduce__(self):
        return os.mkdir, ('PWNED',)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Where the tests leave the work dir of a run of one epoch."""
    return tmp_path_factory.mktemp('finished')


@pytest.fixture
def work(finished, tiny_config, tmp_path, forked):
    """A copy of it, beside its config."""
    cfg = tiny_config()
    cfg.train_cfg.max_epochs = 1
    dump(cfg, tmp_path / 'config.py')
    if not (finished / 'run').exists():
        done = forked('config.py', '--work-dir', finished / 'run')
        assert done.status == [0], done.output[-3000:]
    shutil.copytree(finished / 'run', tmp_path / 'run')
    return tmp_path / 'run'


def craft(path, *keys, value=None):
    """Put something in a checkpoint."""
    checkpoint = torch.load(path, weights_only=False)
    node = checkpoint
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = Marker() if value is None else value
    torch.save(checkpoint, path)


RESUMED = {
    'meta.config': (
        ('meta', 'config', f'x={CODE}'),
        'The text of a config is not run: line 1',
    ),
    'meta.cfg': (('meta', 'cfg', f'x={CODE}'), None),
    'runtime_info.cfg': (
        ('message_hub', 'runtime_info', 'cfg', f'x={CODE}'),
        None,
    ),
    'meta': (('meta', 'seed', None), 'posix.mkdir'),
    'message_hub': (('message_hub', 'log_scalars', 'a', None), 'posix.mkdir'),
    'optimizer': (('optimizer', 'architecture', None), 'posix.mkdir'),
    'param_schedulers': (('param_schedulers', 0, 'a', None), 'posix.mkdir'),
    'method': (
        ('param_schedulers', 0, 'step', 'a'),
        'has a step for .*LR, which is no state',
    ),
    'another key': (('a', None), 'posix.mkdir'),
}


@pytest.mark.parametrize('name', RESUMED)
def test_no_resumed_checkpoint_runs_code(name, work, forked):
    (*keys, value), message = RESUMED[name]
    checkpoint = torch.load(work / 'epoch_1.pth', weights_only=False)
    if keys[0] == 'param_schedulers' and isinstance(
        checkpoint['param_schedulers'], dict
    ):
        keys.insert(1, next(iter(checkpoint['param_schedulers'])))
    craft(work / 'epoch_1.pth', *keys, value=value)
    argv = ['config.py', '--work-dir', 'run', '--resume', 'run/epoch_1.pth']
    if message is None:  # another schedule would leave out the states
        argv += ['--cfg-options', 'train_cfg.max_epochs=2']
    done = forked(*argv)
    assert not list(work.parent.rglob('PWNED'))
    if message is None:
        assert done.status == [0], done.output[-3000:]
    else:
        assert done.status == [1]
        assert re.search(message, done.stderr), done.stderr[-3000:]
        assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'tool, argv',
    [
        ('train.py', ['config.py', '--work-dir', 'new', f'{TEACHER}=evil']),
        (
            'train.py',
            ['config.py', '--work-dir', 'new', 'model.student_ckpt=evil'],
        ),
        ('train.py', ['config.py', '--work-dir', 'new', 'load_from=evil']),
        ('train.py', ['config.py', '--work-dir', 'new', '--resume', 'evil']),
        ('test.py', ['config.py', 'evil']),
        ('export_student.py', ['evil', 'out.pth', '--config', 'config.py']),
    ],
    ids=lambda value: value if isinstance(value, str) else value[-1],
)
def test_no_tool_runs_a_checkpoint(tool, argv, work, forked, tmp_path):
    torch.save(dict(state_dict=Marker()), tmp_path / 'evil.pth')
    argv = [part.replace('evil', 'evil.pth') for part in argv]
    if '=' in argv[-1]:
        argv.insert(-1, '--cfg-options')
    done = forked(*argv, tool=tool)
    assert done.status == [1]
    assert 'evil.pth is not loaded' in done.stderr, done.output[-3000:]
    assert 'posix.mkdir' in done.stderr and 'Traceback' not in done.stderr
    assert not list(tmp_path.rglob('PWNED'))


def test_export_does_not_run_the_config_it_finds(work, forked, tmp_path):
    argv = 'run/epoch_1.pth', 'out.pth'
    assert forked(*argv, tool='export_student.py').status == [0]
    config = max(work.glob('*.py'), key=lambda path: path.stat().st_mtime)
    with open(config, 'a') as file:
        file.write(f'\nx = {CODE}\n')
    done = forked(*argv, tool='export_student.py')
    assert done.status == [1] and 'If you trust it, name it' in done.stderr
    assert not list(tmp_path.rglob('PWNED'))
    done = forked(*argv, '--config', config, tool='export_student.py')
    assert done.status == [0] and (tmp_path / 'PWNED').exists()


def test_export_of_a_damaged_file_alone(tmp_path, monkeypatch):
    """It does not ask for a config, which would not help."""
    monkeypatch.chdir(tmp_path)
    torch.save(dict(state_dict=dict(a=torch.rand(9, 9))), 'whole.pth')
    whole = Path('whole.pth').read_bytes()
    Path('cut.pth').write_bytes(whole[: len(whole) // 2])
    for name, message in (('cut', 'cut short'), ('whole', 'no config beside')):
        monkeypatch.setattr(sys, 'argv', ['export', f'{name}.pth', 'out.pth'])
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            export(parse_args())


def test_no_base_of_a_work_dirs_config_is_run(work, forked, tmp_path):
    """It is read as data, which has no bases."""
    for path in work.rglob('*.py'):
        path.unlink()
    (work / 'sub').mkdir()
    (work / 'sub/evil.py').write_text(f'x = {CODE}\n')
    (work / 'config.py').write_text("_base_ = 'sub/evil.py'\n")
    done = forked('run', tool='test.py')
    assert done.status == [1] and 'inherits others (_base_)' in done.stderr
    assert not list(tmp_path.rglob('PWNED'))


@pytest.mark.parametrize(
    'student',
    [
        dict(type='os.mkdir', path='PWNED'),
        dict(type='mmrazor.TorchClassifier', factory='os.mkdir', path='PWNED'),
        dict(type='mmrazor.TorchClassifier', factory='evil.Net'),
        dict(
            type='mmrazor.TorchClassifier', factory='run/evil/__init__.py:Net'
        ),
    ],
    ids=lambda student: student.get('factory', student['type']),
)
def test_what_a_work_dirs_config_names_is_not_run(
    student, work, forked, tmp_path
):
    """Registries would call any function, and files of the run be found."""
    for path in work.rglob('*.py'):
        path.unlink()
    (work / 'evil').mkdir()
    (work / 'evil/__init__.py').write_text(f'x = {CODE}\n')
    cfg = Config.fromfile(tmp_path / 'config.py')
    cfg.model.architecture = student
    dump(cfg, work / 'config.py')
    for tool, argv in (
        ('test.py', ['run']),
        ('export_student.py', ['run', 'out.pth']),
    ):
        done = forked(*argv, tool=tool)
        assert done.status == [1]
        # Its own folder is not on the import path.
        message = 'If you trust it|No module named .evil'
        assert re.search(message, done.stderr), done.output[-3000:]
        assert not list(tmp_path.rglob('PWNED'))

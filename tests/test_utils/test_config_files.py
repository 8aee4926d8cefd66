# Copyright (c) csd_mmrazor developers. All rights reserved.
import re

import pytest
from helpers import ROOT, load
from mmengine.config import Config
from mmengine.hub import get_config

from csd_mmrazor.utils.config_files import check_keys, read_config

QUICKSTART = ROOT / 'configs/csd/csd_quickstart_digits.py'


def test_a_config_with_its_bases():
    assert read_config(QUICKSTART).model.type == 'CSDDistillation'


def test_a_config_that_does_not_exist():
    with pytest.raises(FileNotFoundError) as error:
        load(QUICKSTART.with_name('csd_quickstart_digit.py'))
    text = str(error.value)
    assert 'csd_quickstart_digit.py does not exist' in text
    assert 'Did you mean csd_quickstart_digits.py?' in text
    assert 'csd_resnet34_resnet18_cifar10.py' in text
    with pytest.raises(FileNotFoundError, match='no folder nowhere'):
        load('nowhere/config.py')


KD = 'distill/mmcls/kd/kd_logits_resnet34_resnet18_8xb32_in1k.py'


def test_a_config_of_an_installed_package():
    cfg = load(f'mmrazor::{KD}')
    assert cfg.model.type == 'SingleTeacherDistill'
    assert cfg.work_dir == './work_dirs/kd_logits_resnet34_resnet18_8xb32_in1k'
    name = 'resnet/resnet18_8xb16_cifar10.py'
    assert load(f'mmcls::{name}').model == load(f'mmpretrain::{name}').model


@pytest.mark.parametrize(
    'name, message',
    [
        (f'mmrazor::{KD}x', 'mean kd_logits_resnet34_resnet18_8xb32_in1k.py'),
        ('mmrazor::distill/nothing.py', 'There are no configs'),
        ('mmrazor::nowhere/a.py', 'There is no folder .*nowhere'),
        ('mmdet3d::a/b.py', '"mmdet3d", which is not installed'),
        ('nopackage::a/b.py', 'packages of OpenMMLab'),
        ('::a.py', 'packages of OpenMMLab'),
    ],
)
def test_a_config_that_no_package_has(name, message):
    with pytest.raises((FileNotFoundError, ModuleNotFoundError)) as error:
        load(name)
    assert re.search(message, str(error.value)) and name in str(error.value)


@pytest.mark.parametrize(
    'base, available',
    [
        (f'{ROOT}/configs/_base_/csd_cifar11.py', 'mean csd_cifar10.py.*svhn'),
        ('mmpretrain::_base_/datasets/cifar11_bs16.py', 'cifar10_bs16.py'),
    ],
)
def test_a_base_that_does_not_exist(tmp_path, base, available):
    path = tmp_path / 'config.py'
    path.write_text(f'_base_ = {base!r}\n')
    message = f'{re.escape(str(path))} inherits .* does not exist.*{available}'
    with pytest.raises(FileNotFoundError, match=message):
        load(path)


@pytest.mark.parametrize(
    'text, message',
    [
        (
            'connectors = dict(\n    align=dict(),\n    align=dict(),\n)',
            'is not Python.*align',
        ),
        (
            "a = 1\nconnectors = {'align': 1, 'other': 2, 'align': 3}",
            "line 2: a dict has 'align' twice",
        ),
        ('model = dict(', 'is not Python'),
    ],
)
def test_two_parts_of_one_name(tmp_path, text, message):
    path = tmp_path / 'config.py'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize(
    'name, text, message',
    [
        ('a.yaml', 'model: [1, 2\nb: }', r'a.yaml is no YAML.*line 1'),
        ('a.yml', 'model: 1\nmodel: 2', 'a.yml is no YAML.*model is there tw'),
        ('a.yaml', 'a: !!python/name:os.system', 'a.yaml is no YAML.*os.syst'),
        ('a.yaml', '[' * 100_000, 'a.yaml is no YAML.*nested too deeply'),
        ('a.yaml', '', r'a.yaml should have sections .* but has None'),
        ('a.json', '{"a": 1,}', 'a.json is no JSON.*line 1 column 9'),
        ('a.json', '{"a": {"b": 1, "b": 2}}', "no JSON.*'b' is there twice"),
        ('a.json', '[' * 100_000, 'a.json is no JSON.*nested too deeply'),
        (
            'a.json',
            '[1, 2]',
            r'json should have sections .* but has \[1, 2]',
        ),
        ('a.py', 'a = 1\nb = c', "a.py, line 2: NameError: name 'c' is not"),
        ('a.py', 'a = [1][2]', 'a.py, line 1: IndexError'),
        ('a.py', "_base_ = 'b.py'\na = _base_.c", 'a.py, line 2: Attribute'),
        ('a.py', '_base_ = 5', 'a.py cannot be read as a config: TypeError'),
    ],
)
def test_what_cannot_be_read(tmp_path, name, text, message):
    folder = tmp_path / 'my_mmengine'
    folder.mkdir()
    (folder / 'b.py').write_text('model = dict()')
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=f'(?s){message}'):
        read_config(folder / name)


LAZY = """
from mmengine.config import read_base
with read_base():
    from .a import *
"""


@pytest.mark.parametrize('base', ['a.py', './a.py', 'b.json', ''])
@pytest.mark.parametrize('read', [read_config, Config.fromfile, get_config])
def test_a_config_that_inherits_itself(tmp_path, base, read):
    """Whoever reads it."""
    text = f'_base_ = [{base!r}]' if base else LAZY
    (tmp_path / 'a.py').write_text(text)
    (tmp_path / 'b.json').write_text('{"_base_": "a.py"}')
    for _ in range(2):
        with pytest.raises(ValueError, match='a.py inherits itself, .* > .*'):
            read(str(tmp_path / 'a.py'))


def test_what_mmengine_dumps_is_read(tmp_path):
    (tmp_path / 'b.yaml').write_text('a: !!python/tuple [1, 2]')
    (tmp_path / 'a.json').write_text('{"_base_": "b.yaml", "model": {"b": 3}}')
    cfg = read_config(tmp_path / 'a.json')
    assert cfg._cfg_dict.to_dict() == dict(a=(1, 2), model=dict(b=3))


@pytest.mark.parametrize(
    'key', ["a': print(1), 'b", 'a\n', 'a\r', 'C:\\new', 'a\0', "it's"]
)
def test_keys_that_would_be_written_as_others(key):
    with pytest.raises(ValueError, match=r'model\.0\..*: no key of a config'):
        check_keys(dict(model=[{key: 1}]))


def test_keys_that_are_written_as_they_are(tmp_path):
    found = dict(a=dict.fromkeys(('C:/new', 'a "b"\xa0é', '', 3, (4,)), 1))
    check_keys(found)
    Config(found).dump(tmp_path / 'a.py')
    assert Config.fromfile(tmp_path / 'a.py')._cfg_dict == found

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What ``--cfg-options`` reads."""

import argparse

import pytest
from helpers import ROOT
from mmengine.config import Config

from csd_mmrazor.cli.config import add_config_arguments, load_config
from csd_mmrazor.cli.options import check_option, parse_value

QUICKSTART = str(ROOT / 'configs/csd/csd_quickstart_digits.py')


@pytest.mark.parametrize(
    'text, value',
    [
        # As MMEngine reads them.
        ('5', 5),
        ('1e-3', 0.001),
        ('true', True),
        ('None', None),
        ('text', 'text'),
        ('1,2', [1, 2]),
        ('[1, 2]', [1, 2]),
        ('"[a,b]"', ['a', 'b']),
        ('[]', []),
        ('(1,)', (1,)),
        ('[(1, 2), [a, b], c]', [(1, 2), ['a', 'b'], 'c']),
        # Texts stay as they are.
        ('my folder/a.pth', 'my folder/a.pth'),
        ('[my folder, b c]', ['my folder', 'b c']),
        ("'a,b.pth'", 'a,b.pth'),
        ('"my folder, old/a.pth"', 'my folder, old/a.pth'),
        ('["a,b", c]', ['a,b', 'c']),
        ("it's", "it's"),
        ('a(1).pth', 'a(1).pth'),
        ('a(1,b', 'a(1,b'),
        ("it's (a,b", "it's (a,b"),
        ('a=b', 'a=b'),
        ('', ''),
        ('größe 5', 'größe 5'),
        ("'1e3'", '1e3'),
        ('["None", 5]', ['None', 5]),
        ("'a','b,c'", ['a', 'b,c']),
    ],
)
def test_parse_value(text, value):
    found = parse_value(text)
    assert found == value
    assert isinstance(found, type(value))


@pytest.mark.parametrize('text', ['[a,b', '(1,2', '[(1,2]'])
def test_a_bracket_that_is_not_closed(text):
    with pytest.raises(ValueError, match='not closed'):
        parse_value(text)


def parse(*options):
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_config_arguments(parser)
    return parser.parse_args([QUICKSTART, '--cfg-options', *options])


def test_paths_of_a_stranger(tmp_path, monkeypatch):
    """Spaces stay, and so does a comma where the config has a text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a, b.pth').write_text('')
    cfg = load_config(
        parse(
            'model.teachers.teacher.ckpt_path=my teachers, old/a b.pth',
            'load_from=a, b.pth',
            'work_dir="run, 2"',
            'model.data_preprocessor.mean=1,2,3',
        )
    )
    assert cfg.model.teachers.teacher.ckpt_path == 'my teachers, old/a b.pth'
    assert cfg.load_from == 'a, b.pth'
    assert cfg.work_dir == 'run, 2'
    assert cfg.model.data_preprocessor.mean == [1, 2, 3]


@pytest.mark.parametrize('name', ['1e3', '12', 'True', 'inf', 'None'])
def test_files_called_like_something_else(name, tmp_path, monkeypatch):
    """A number or None, but not where the config has a number."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text('')
    cfg = load_config(
        parse(
            f'model.teachers.teacher.ckpt_path={name}',
            f'model.student_ckpt={name}',
            f'load_from={name}',
            f'train_dataloader.dataset.init_bank={name}',
            'train_cfg.max_epochs=12',
            'default_hooks.checkpoint.save_best=None',
        )
    )
    assert cfg.model.teachers.teacher.ckpt_path == name
    assert cfg.model.student_ckpt == cfg.load_from == name
    assert cfg.train_dataloader.dataset.init_bank == name
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.default_hooks.checkpoint.save_best is None


def test_none_stays_none_where_no_file_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config(parse('load_from=None')).load_from is None


def test_hooks_that_are_none():
    """Ours are left out as well; MMEngine adds its own unless it is told."""
    cfg = load_config(
        parse('default_hooks.report=None', 'default_hooks.timer=None')
    )
    assert 'report' not in cfg.default_hooks
    assert cfg.default_hooks.timer is None
    assert cfg.default_hooks.synthesis.type == 'mmrazor.SynthesisHook'


@pytest.mark.parametrize(
    'option, said',
    [
        ('load_from', 'takes key=value'),
        ('=5', 'takes key=value'),
        ('a..b=5', 'takes key=value'),
        ('load_from=[a,b', 'a bracket is not closed'),
        ("custom_hooks=[dict(type='A',b=1)]", 'a dict cannot be given here'),
        ('model={}', 'a dict cannot be given here. Set its keys one by one'),
    ],
)
def test_an_option_that_cannot_be_read(option, said, capsys):
    with pytest.raises(SystemExit):
        parse(option)
    assert said in capsys.readouterr().err


def test_only_what_can_be_set_is_suggested():
    cfg = Config(
        dict(model=dict(teacher=dict(cfg_path='a'), teachers_of=dict(b=1)))
    )
    with pytest.raises(ValueError, match=r'did you mean model\.teacher\.a\?'):
        check_option(cfg, 'model.teachers.a')
    with pytest.raises(
        ValueError, match=r'no model\.teachers; model of it has teacher, '
    ):
        check_option(cfg, 'model.teachers.teacher.ckpt_path')

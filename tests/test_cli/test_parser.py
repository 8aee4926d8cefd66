# Copyright (c) csd_mmrazor developers. All rights reserved.
import re
import sys

import pytest
from helpers import ROOT

from csd_mmrazor.cli.parser import Parser


def parser():
    made = Parser(prog='p')
    made.add_argument('--image-shape', required=True)
    made.add_argument('--budget')
    made.add_argument('--method', choices=['csd', 'plain'])
    return made


@pytest.mark.parametrize(
    'given, message',
    [
        ('--image-shape 1 --bugdet 5', 'mean --budget in place of --bugdet?'),
        ('--image-shape 1 --bud 5', 'mean --budget in place of --bud?'),
        ('--image-shap 1', 'mean --image-shape in place of --image-shap?'),
        ('--image_shape=1', 'mean --image-shape in place of --image_shape?'),
        ('--image-shape 1 --method plan', "Did you mean 'plain'?"),
    ],
)
@pytest.mark.parametrize('from_argv', [True, False])
def test_what_is_meant(given, message, from_argv, monkeypatch, capsys):
    words = given.split()
    monkeypatch.setattr(sys, 'argv', ['p', *words])
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(None if from_argv else words)
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith('p: error: ') and message in told
    assert told.endswith('\nAll options: p --help\n')


@pytest.mark.parametrize('given', ['--image-shape 1 --xyz', '-x'])
def test_nothing_is_meant(given, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(given.split())
    assert 'mean' not in capsys.readouterr().err


def test_the_folder_of_the_user(monkeypatch):
    """Shells do not say it in all places."""
    monkeypatch.setenv('HOME', '/h')
    given = ['--budget=~/a', '--image-shape', '~/b']
    found = parser().parse_args(given)
    assert (found.budget, found.image_shape) == ('/h/a', '/h/b')
    given = ['--budget=a~/b', '--image-shape', 'a/~/b']
    found = parser().parse_args(given)
    assert (found.budget, found.image_shape) == ('a~/b', 'a/~/b')


def test_every_command_has_it():
    for path in (ROOT / 'csd_mmrazor/cli').glob('*.py'):
        text = path.read_text(encoding='utf-8')
        assert path.stem == 'parser' or not re.search(
            r'argparse\.ArgumentParser\(', text
        ), path

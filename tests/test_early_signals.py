# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Signals during the imports, of which the first one sends them here."""

import sys

import pytest
from helpers import ROOT

from csd_mmrazor import early_signals
from csd_mmrazor.cli.commands import COMMANDS as ALL

COMMANDS = dict(
    tool=(sys.executable, 'tools/train.py'),
    module=(sys.executable, '-m', 'csd_mmrazor', 'train'),
    other=(sys.executable, '-m', 'csd_mmrazor', 'report'),
)


def test_all_commands_are_known():
    assert {*early_signals.COMMANDS} == {*ALL}


@pytest.mark.parametrize(
    'command, name, options, status',
    [
        ('tool', 'SIGUSR1', ['--requeue'], 75),
        ('tool', 'SIGINT', [], 130),
        ('module', 'SIGUSR1', ['--requeue'], 75),
        ('module', 'SIGTERM', ['--requeue'], 75),
        ('module', 'SIGTERM', [], -15),
        ('module', 'SIGINT', ['--requeue'], 130),
        ('other', 'SIGINT', [], 130),
    ],
)
def test_what_has_not_begun_ends(
    run, tmp_path, command, name, options, status
):
    (tmp_path / 'torch.py').write_text(
        'import os, signal\n'
        f'os.kill(os.getpid(), signal.{name})\n'
        'signal.pause()\n'
    )
    (tmp_path / 'tools').symlink_to(ROOT / 'tools')
    argv = (*COMMANDS[command], 'config.py', *options)
    done = run(*argv, check=False, PYTHONPATH=f'{tmp_path}:{ROOT}')
    assert done.returncode == status
    assert done.stdout == done.stderr == ''

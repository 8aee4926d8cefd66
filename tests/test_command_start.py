# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What commands set before their imports, of which torch is ours here."""

import sys

import pytest
from helpers import ROOT

from csd_mmrazor import busy_cores, command_start
from csd_mmrazor.cli.commands import COMMANDS as ALL

COMMANDS = dict(
    tool=(sys.executable, 'tools/train.py'),
    module=(sys.executable, '-m', 'csd_mmrazor', 'train'),
    other=(sys.executable, '-m', 'csd_mmrazor', 'report'),
)


def test_all_commands_are_known():
    assert {*command_start.COMMANDS} == {*ALL}


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


@pytest.mark.skipif(sys.platform != 'linux', reason='asks Linux')
@pytest.mark.parametrize(
    'command, own, found',
    [
        ('tool', {}, 'PASSIVE'),
        ('module', {}, 'PASSIVE'),
        ('module', dict(OMP_WAIT_POLICY='ACTIVE'), 'ACTIVE'),
        ('none', {}, 'None'),
    ],
)
def test_threads_sleep_on_a_busy_machine(
    run, tmp_path, monkeypatch, command, own, found
):
    if not busy_cores._cores()[0]:
        pytest.skip('/proc/stat does not count here')
    monkeypatch.delenv('OMP_WAIT_POLICY', raising=False)
    (tmp_path / 'torch.py').write_text(
        'import os\n'
        "print(os.environ.get('OMP_WAIT_POLICY'), flush=True)\n"
        'os._exit(0)\n'
    )
    (tmp_path / 'tools').symlink_to(ROOT / 'tools')
    none = (sys.executable, '-c', 'import csd_mmrazor')
    argv = (*COMMANDS.get(command, none), 'config.py')
    own = dict(own, OMP_NUM_THREADS=str(2 * busy_cores._cores()[1]))
    done = run(*argv, PYTHONPATH=f'{tmp_path}:{ROOT}', **own)
    assert done.stdout.strip() == found


@pytest.mark.parametrize('has_clone', [False, True])
def test_commands_of_others_keep_their_signals(run, tmp_path, has_clone):
    """Though they have the same names, as MMRazor's own tools do."""
    if has_clone:  # of this project, beside their tools
        (tmp_path / 'csd_mmrazor').symlink_to(ROOT)
    code = (
        'import os, signal, csd_mmrazor\n'
        'from csd_mmrazor.command_start import prepare_command\n'
        'prepare_command()\n'
        # Whoever starts tests in the background has it ignored.
        'plain = signal.default_int_handler, signal.SIG_IGN\n'
        'print(signal.getsignal(signal.SIGINT) in plain)\n'
        'os._exit(0)\n'
    )
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/train.py').write_text(code)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/__init__.py').write_text(code)
    for command in (('tools/train.py',), ('-m', 'other', 'train')):
        done = run(sys.executable, *command, PYTHONPATH=f'{tmp_path}:{ROOT}')
        assert done.stdout.split()[-1] == 'True'

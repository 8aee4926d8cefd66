# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Jobs with a time limit: asked to stop, ended, started again."""

import os
import signal
import subprocess
import time

import pytest
from helpers import ROOT, TIMEOUT
from test_kills import SYNTHESIS, config, same_result  # noqa: F401

from csd_mmrazor.datasets import BankFolder

# Sends itself a signal at the n-th call of a function.
AT_CALL = """
import csd_mmrazor.{module} as module
count = [0]
def asked(*args, original=module.{name}, **kwargs):
    count[0] += 1
    if count[0] == {number}:
        os.write(1, b'ASKED')
        os.kill(os.getpid(), signal.{signal})
    return original(*args, **kwargs)
module.{name} = asked
"""
STEPS = dict(
    synthesis=('utils.progress', 'Progress.step', 'SIGUSR1'),
    student=('models', 'CSDDistillation.train_step', 'SIGTERM'),
    validation=('models', 'CSDDistillation.val_step', 'SIGUSR1'),
)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Where the run is that was never asked to stop, made once."""
    return tmp_path_factory.mktemp('whole')


@pytest.mark.parametrize('what', STEPS)
def test_a_run_that_is_asked_to_stop_goes_on(
    forked,
    config,  # noqa: F811
    tmp_path,
    whole,
    what,
):
    config()
    argv = ('config.py', '--work-dir', 'run', '--requeue', '--no-rehearsal')
    module, name, number = STEPS[what]
    setup = AT_CALL.format(module=module, name=name, number=11, signal=number)
    if what == 'validation':
        setup = setup.replace('== 11', '== 2')
    first = forked(*argv, setup=setup)
    assert first.status == [75], first.output[-3000:]
    assert 'ASKED' in first.stdout and 'Traceback' not in first.output
    if what == 'synthesis':  # within the third of rounds of four steps
        assert len(BankFolder(tmp_path / 'run/bank')) == 2 * 16
    second = forked(*argv)
    assert second.status == [0], second.output[-3000:]
    if not (whole / 'run').exists():
        plain = forked('config.py', '--work-dir', whole / 'run')
        assert plain.status == [0], plain.output[-3000:]
    same_result(tmp_path / 'run', whole / 'run')


def test_all_processes_of_a_job_stop(forked, config, tmp_path):  # noqa: F811
    """The second one a step later: it finds the first one gone."""
    config()
    setup = AT_CALL.format(
        module='models',
        name='CSDDistillation.train_step',
        number='3 + int(os.environ["RANK"])',
        signal='SIGUSR1',
    )
    argv = ('config.py', '--work-dir', 'run', '--requeue', '--no-rehearsal')
    done = forked(*argv, processes=2, setup=setup)
    # The server ends the other when one has ended.
    assert 75 in done.status and {*done.status} <= {75, -9}, done.output
    again = forked(*argv, processes=2)
    assert again.status == [0, 0], again.output[-3000:]


SRUN = """#!/usr/bin/env bash
printf "%s\\n" "$@" > args
trap 'exit {code}' {traps}
touch begun
for _ in {{1..6000}}; do [ -e end ] && exit {code}; sleep 0.1; done
"""


@pytest.mark.parametrize(
    'code, signals, state, requeued',
    [
        (75, ['SIGUSR1'], '', True),
        # One that srun killed after the others.
        (137, ['SIGUSR1'], '', True),
        (143, ['SIGUSR1'], '', True),
        # At the limit Slurm sends TERM, too.
        (143, ['SIGUSR1', 'SIGTERM'], 'COMPLETING', True),
        (0, ['SIGUSR1'], 'RUNNING', False),  # it was done meanwhile
        (1, ['SIGUSR1'], 'RUNNING', False),  # it has failed
        (75, ['SIGTERM'], 'RUNNING', False),  # cancelled, the script as well
        (143, ['SIGTERM'], 'RUNNING', False),
        (75, [], 'RUNNING', True),  # its processes were signalled themselves
        (75, [], 'COMPLETING', False),  # by scancel
        (75, [], '', False),  # squeue says nothing
        (0, [], 'RUNNING', False),
        (1, [], 'RUNNING', False),
        (143, [], 'RUNNING', False),
    ],
)
def test_the_job_is_requeued(tmp_path, code, signals, state, requeued):
    """srun, squeue and scontrol, which are not to be had, are stand-ins."""
    traps = 'TERM' if signals[1:] else 'USR1 TERM'
    if signals[1:]:
        traps += '; trap "" USR1'  # still within its step
    for name, text in dict(
        srun=SRUN.format(code=code, traps=traps),
        scontrol='#!/bin/sh\necho "$@" > requeued\n',
        squeue=f'#!/bin/sh\n[ "$*" = "-h -j 42 -o %T" ] && echo {state}\n',
    ).items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = subprocess.Popen(
        [ROOT / 'tools/slurm_requeue.sh', 'config.py', 'work', '--amp'],
        cwd=tmp_path,
        env=dict(
            os.environ,
            PATH=f'{tmp_path}:{os.environ["PATH"]}',
            SLURM_JOB_ID='42',
        ),
    )
    try:
        start = time.monotonic()
        while not (tmp_path / 'begun').exists():
            assert job.poll() is None
            assert time.monotonic() - start < TIMEOUT
            time.sleep(0.02)
        for name in signals:
            job.send_signal(getattr(signal, name))
            time.sleep(0.1 * len(signals[1:]))
        if not signals:
            (tmp_path / 'end').touch()
        status = job.wait(TIMEOUT)
    finally:
        job.kill()
    assert (tmp_path / 'requeued').exists() == requeued
    if requeued:
        assert (tmp_path / 'requeued').read_text() == 'requeue 42\n'
    else:
        assert status == code
    words = (tmp_path / 'args').read_text().split()
    assert ' '.join(words[1:]) == (
        'python -u tools/train.py config.py --work-dir=work '
        '--launcher=slurm --requeue --amp'
    )


def test_a_job_does_not_start_from_one_file_each_time(
    forked, tiny_config, tmp_path
):
    """It would drop what it made, and might never end."""
    cfg = tiny_config()
    cfg.dump(tmp_path / 'config.py')
    done = forked('config.py', '--requeue', '--resume', 'epoch_1.pth')
    assert done.status == [1], done.output
    assert '--requeue continues what is in the work dir' in done.output
    assert 'leave out its path' in done.output

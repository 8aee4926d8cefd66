# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Jobs with a time limit: asked to stop, ended, started again."""

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress

import numpy as np
import pytest
from helpers import ROOT, TIMEOUT, free_port
from PIL import Image
from test_kills import SYNTHESIS, config, same_result  # noqa: F401

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.datasets.loose_rounds import read_notes

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
        plain = forked(
            *('config.py', '--work-dir', whole / 'run', '--no-rehearsal')
        )
        assert plain.status == [0], plain.output[-3000:]
    same_result(tmp_path / 'run', whole / 'run')


def test_a_seed_that_was_drawn_is_taken_up(
    forked,
    config,  # noqa: F811
    tmp_path,
):
    """Before the first checkpoint, and after it."""
    config(**{'randomness.seed': None})
    argv = ('config.py', '--work-dir', 'run', '--requeue', '--no-rehearsal')
    for number, epochs in ((3, 0), (11, 1)):  # an epoch has eight steps
        setup = AT_CALL.format(
            module='models',
            name='CSDDistillation.train_step',
            number=number,
            signal='SIGUSR1',
        )
        stopped = forked(*argv, setup=setup)
        assert stopped.status == [75], stopped.output[-3000:]
        found = [*(tmp_path / 'run').glob('epoch_*.pth')]
        assert len(found) == epochs
    again = forked(*argv)
    assert again.status == [0] and 'that differs' not in again.output
    seed = (tmp_path / 'run/seed.txt').read_text().strip()
    named = ('--cfg-options', f'randomness.seed={seed}')
    plain = forked('config.py', '--work-dir', 'whole', *named)
    assert plain.status == [0], plain.output[-3000:]
    same_result(tmp_path / 'run', tmp_path / 'whole')
    # It is not written over by a start that is refused.
    refused = forked('config.py', '--work-dir', 'run', '--no-rehearsal')
    assert 'holds images of an earlier run' in refused.output
    assert (tmp_path / 'run/seed.txt').read_text().strip() == seed


# Long work that is no step: what is between two shards.
SHARDS = dict(
    targets=('engine.synthesis.bank_targets', '_of_shard', 'host'),
    load=('datasets', 'BankFolder.read', 'host'),
    verify=('datasets.verification', '_fault', 'disk'),
    adopt=('datasets.bank_folder', '_bring', 'disk'),
    imported=('datasets.init_pictures', 'read_picture', 'disk'),
)


@pytest.fixture(scope='module')
def many(tmp_path_factory):
    """A bank of forty shards, and a folder of as many pictures."""
    path = tmp_path_factory.mktemp('many')
    folder = BankFolder(path / 'bank', (1, 8, 8), 10)
    images = np.random.default_rng(0).integers(0, 255, (40, 1, 8, 8))
    for index, image in enumerate(images.astype(np.uint8)):
        label = index % 10
        folder.append(image[None], np.array([label]), -2, index, True)
        picture = path / f'pictures/{label}/{index}.png'
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(picture)
    return path


@pytest.mark.parametrize('what', SHARDS)
def test_it_stops_between_shards(
    forked,
    config,  # noqa: F811
    tmp_path,
    many,
    what,
):
    module, name, storage = SHARDS[what]
    options = {
        'train_dataloader.dataset.storage': storage,
        'train_dataloader.dataset.held_out': 0,
        'train_cfg.max_epochs': 1,
        f'{SYNTHESIS}.target_views': int(what == 'targets'),
        f'{SYNTHESIS}.target_maps': what == 'targets',
    }
    if what in ('adopt', 'imported'):
        source = dict(adopt='bank', imported='pictures')[what]
        options['train_dataloader.dataset.init_bank'] = str(many / source)
    else:
        shutil.copytree(many / 'bank', tmp_path / 'run/bank')
    config(**options)
    setup = AT_CALL.format(
        module=module, name=name, number=3, signal='SIGUSR1'
    )
    small = """
import csd_mmrazor.datasets.image_bank
csd_mmrazor.datasets.image_bank.SHARD_SIZE = 4
"""
    setup += f"""{small}
leave = os._exit
os._exit = lambda code: (os.write(1, b'CALLS %d.' % count[0]), leave(code))
"""
    argv = ('config.py', '--work-dir', 'run', '--requeue', '--no-rehearsal')
    first = forked(*argv, setup=setup)
    assert first.status == [75], first.output[-3000:]
    calls = int(re.search(r'CALLS (\d+)\.', first.output)[1])
    # A few are under way in threads by then.
    assert 3 <= calls < 30 and 'Traceback' not in first.output
    second = forked(*argv, setup=small)
    assert second.status == [0], second.output[-3000:]
    folder = BankFolder(tmp_path / 'run/bank')
    imported = [s for s in folder.shards if s.epoch == -2]
    assert sum(shard.count for shard in imported) == 40
    assert bool(folder.targets) == (what == 'targets')


def test_all_processes_of_a_job_stop(forked, config, tmp_path):  # noqa: F811
    """The second one a step later: it finds the first one gone."""
    config(**{'randomness.seed': None})  # they go on with what they drew
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


# A process that waits for signals, as --requeue does; rank 0 sends one.
WORKER = """
import os, signal, sys, time
from pathlib import Path
rank, got = os.environ['RANK'], []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, _: got.append(number))
with open('starts' + rank, 'a') as file:
    file.write('x')
while not (Path('starts0').exists() and Path('starts1').exists()):
    time.sleep(0.01)
how = sys.argv[1]
if how.startswith('SIG') and rank == '0':
    os.kill(os.getppid(), getattr(signal, how))
elif not how.startswith('SIG') and rank == '1':
    number = int(how)
    sys.exit(number) if number >= 0 else os.kill(os.getpid(), -number)
while not got:
    time.sleep(0.01)
Path('got' + rank).write_text(signal.Signals(got[0]).name)
sys.exit(75)
"""


@pytest.mark.parametrize(
    'how, options, restarts, status',
    [
        ('SIGUSR1', ['--requeue'], 0, 75),
        ('SIGTERM', ['--requeue'], 0, 75),
        ('SIGUSR1', ['--requeue'], 3, 75),
        ('SIGTERM', ['--requeue'], 3, 75),
        ('SIGTERM', [], 0, 143),
        ('75', ['--requeue'], 0, 75),  # one that was signalled itself
        ('1', ['--requeue'], 0, 1),
        ('-9', ['--requeue'], 0, 1),  # out of memory, say
        ('75', [], 0, 1),
    ],
)
def test_torchrun_passes_on_signals_and_status(
    forked, tmp_path, how, options, restarts, status
):
    (tmp_path / 'worker.py').write_text(WORKER)
    done = forked(
        f'--master_port={free_port()}',
        '--nproc_per_node=2',
        f'--max_restarts={restarts}',
        '--monitor_interval=0.1',
        *('worker.py', how, *options),
        tool='launch.py',
    )
    assert done.status == [status], done.output[-3000:]
    for rank in '01':  # none is started again
        assert (tmp_path / f'starts{rank}').read_text() == 'x'
        if how.startswith('SIG'):
            assert (tmp_path / f'got{rank}').read_text() == how
            assert 'Traceback' not in done.output


def test_a_job_of_torchrun_goes_on(forked, config, tmp_path):  # noqa: F811
    """tools/dist_train.sh with two processes, and a signal to its own."""
    config(**{f'{SYNTHESIS}.init_rounds': 10**5})
    out = tmp_path / 'out'
    argv = ('config.py', '--work-dir', 'run', '--requeue', '--no-rehearsal')
    with open(out, 'w') as file:
        process = subprocess.Popen(
            [
                'bash',
                str(ROOT / 'tools/dist_train.sh'),
                argv[0],
                '2',
                *argv[1:],
            ],
            cwd=tmp_path,
            env=dict(os.environ, OMP_NUM_THREADS='1', PORT=str(free_port())),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + TIMEOUT
        while not all(
            (tmp_path / f'run/bank/note_{index:06}.json').exists()
            for index in range(2)  # of each process
        ):
            assert process.poll() is None, out.read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(TIMEOUT) == 75, out.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert 'Traceback' not in out.read_text()
    made = [note.shard for note in read_notes(tmp_path / 'run/bank')]
    assert len(made) >= 2
    rounds = max(shard.index for shard in made) + 1
    config(**{f'{SYNTHESIS}.init_rounds': rounds, 'train_cfg.max_epochs': 1})
    again = forked(*argv, processes=2)
    assert again.status == [0, 0], again.output[-3000:]
    folder = BankFolder(tmp_path / 'run/bank')
    assert {*made} <= {*folder.shards}
    assert [s.index for s in folder.shards if s.epoch < 0] == [*range(rounds)]


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
        (138, ['SIGUSR1'], '', True),
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


@pytest.mark.parametrize('name', ['USR1', 'TERM'])
def test_a_signal_as_the_step_begins(tmp_path, name):
    """Before the script knows what to send it on to."""
    for file, text in dict(
        srun=SRUN.format(code=75, traps='USR1 TERM'),
        scontrol='#!/bin/sh\necho "$@" > requeued\n',
        early='trap \'[ "$BASH_COMMAND" = "step=\\$!" ] && '
        'until [ -e begun ]; do sleep 0.02; done && '
        f"kill -{name} $$ && :' DEBUG\n",
    ).items():
        (tmp_path / file).write_text(text)
        (tmp_path / file).chmod(0o755)
    job = subprocess.run(
        [ROOT / 'tools/slurm_requeue.sh', 'config.py', 'work'],
        cwd=tmp_path,
        timeout=TIMEOUT,
        env=dict(
            os.environ,
            PATH=f'{tmp_path}:{os.environ["PATH"]}',
            SLURM_JOB_ID='42',
            BASH_ENV=str(tmp_path / 'early'),
        ),
    )
    assert (tmp_path / 'requeued').exists() == (name == 'USR1')
    assert job.returncode == (0 if name == 'USR1' else 75)


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

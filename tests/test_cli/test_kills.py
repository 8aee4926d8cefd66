# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Runs that are killed, and what --resume makes of them."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, TIMEOUT, dump, free_port
from mmengine.runner import CheckpointLoader

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.utils.checkpoints import latest_checkpoint

SYNTHESIS = 'default_hooks.synthesis'
EPOCHS = 3
# Kills the process when it opens or renames a certain file of the work dir,
# the n-th or one of a name: mostly while something is being written.
AT_FILE = """
count = [0]
def hook(event, args):
    if event in ('open', 'os.rename') and {work!r} in str(args[0]):
        count[0] += 1
        os.write(2, b'[FILE EVENT %d]' % int(os.environ.get('RANK', 0)))
        if {when}:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


@pytest.fixture
def config(tiny_config, tmp_path):
    """Three epochs of everything that has a state, in ``config.py``."""

    def write(**options):
        cfg = tiny_config(
            **{
                'train_cfg.max_epochs': EPOCHS,
                f'{SYNTHESIS}.init_rounds': 4,
                f'{SYNTHESIS}.init_iters': 4,
                f'{SYNTHESIS}.synthesizer.iters': 4,
                'train_dataloader.sampler.num_samples': 128,
                'train_dataloader.dataset.held_out': 0.25,
                'custom_hooks': [dict(type='EMAHook', momentum=0.1)],
                **options,
            }
        )
        dump(cfg, tmp_path / 'config.py')

    return write


def same(a, b, where=''):
    """Compare two checkpoints' contents, bit by bit."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, pair in enumerate(zip(a, b)):
            same(*pair, f'{where}[{index}]')
    elif torch.is_tensor(a):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


def same_result(work, whole):
    """A run that was killed ended as the one that was not."""
    banks = [BankFolder(folder / 'bank') for folder in (work, whole)]
    assert banks[0].shards == banks[1].shards
    assert banks[0].held_out == banks[1].held_out is not None
    assert banks[0].digest() == banks[1].digest()  # targets included
    for shard in banks[0].shards:
        banks[0].read(shard)  # checks its bytes
        if banks[0].targets:
            banks[0].read_targets(shard)
    a, b = (
        CheckpointLoader.load_checkpoint(str(folder / f'epoch_{EPOCHS}.pth'))
        for folder in (work, whole)
    )
    for key in ('state_dict', 'ema_state_dict', 'optimizer'):
        same(a[key], b[key], key)
    same(a['param_schedulers'], b['param_schedulers'], 'param_schedulers')
    best = 'runtime_info', 'best_score'
    assert (
        a['message_hub'][best[0]][best[1]]
        == (b['message_hub'][best[0]][best[1]])
    )
    names = [{p.name for p in f.glob('best*.pth')} for f in (work, whole)]
    assert names[0] == names[1]
    assert not list(work.rglob('.*.tmp'))


def state(work):
    """What is on the disk: shards with their files' identity, and epoch.

    The epoch is the one that ``last_checkpoint`` names: a kill may come after
    a checkpoint is written and before it is named.
    """
    shards = []
    if BankFolder.exists(work / 'bank'):
        folder = BankFolder(work / 'bank')
        shards = [
            (shard, (folder.path / shard.name).stat().st_ino)
            for shard in folder.shards
        ]
    path = latest_checkpoint(work)
    return shards, int(Path(path).stem[6:]) if path else 0


# One generator goes on, and what the teacher says is kept with the bank, its
# last feature map included.
KEPT_TARGETS = {
    f'{SYNTHESIS}.target_maps': True,
    'model.data_preprocessor.augment': None,
    f'{SYNTHESIS}.synthesizer.meta': dict(type='LastingGenerator'),
    f'{SYNTHESIS}.synthesizer.optimizer_lasts': True,
    f'{SYNTHESIS}.synthesizer.latents': 'fresh',
    f'{SYNTHESIS}.synthesizer.keep': 'all',
    f'{SYNTHESIS}.synthesizer.keep_targets': True,
}


@pytest.mark.parametrize(
    'processes, kills, options',
    [(1, 8, {}), (2, 6, {}), (1, 6, KEPT_TARGETS)],
    ids=['one', 'two', 'kept_targets'],
)
def test_killed_at_random_moments(
    forked, config, tmp_path, processes, kills, options
):
    config(**options)
    command = dict(processes=processes, timeout=TIMEOUT)
    # One of the three is killed in rehearsals as well.
    more = [] if (processes, options) == (1, {}) else ['--no-rehearsal']
    whole = forked(
        *('config.py', '--work-dir', 'whole', *more),
        **command,
        setup=AT_FILE.format(work='whole', when=False),
    )
    assert whole.status == [0] * processes, whole.output[-3000:]
    assert bool(BankFolder(tmp_path / 'whole/bank').targets) == bool(options)
    events = whole.output.count('[FILE EVENT 0]')

    rng = np.random.default_rng(processes)
    states, done, work, before = set(), 0, tmp_path / 'run0', ([], 0)
    while True:
        argv = ('config.py', '--work-dir', work.name, '--resume', *more)
        if done == kills:  # now it may end
            run = forked(*argv, **command)
            assert run.status == [0] * processes, run.output[-3000:]
        elif done == 0 or done % 2:
            # The first two come before the first checkpoint and between
            # later ones, however fast the machine is.
            number = 1 if done == 0 else rng.integers(1, events)
            when = f'count[0] == {number}'
            if done == 1:
                when = '"epoch_2.pth" in str(args[0])'
            setup = AT_FILE.format(work=work.name, when=when)
            run = forked(*argv, **command, setup=setup)
        else:
            moment = rng.uniform(0.2, 0.9) * whole.seconds
            run = forked(*argv, **command, kill_after=moment)
        killed = -signal.SIGKILL in run.status
        assert killed or run.status == [0] * processes, run.output[-3000:]
        done += killed
        # What was on the disk before stays and is not made again.
        after = state(work)
        assert after[0][: len(before[0])] == before[0]
        assert after[1] >= before[1]
        if before[1]:
            assert f'resumed epoch: {before[1]}' in run.output or killed
        before = after
        states.add((len(after[0]), after[1]))
        if not killed:
            same_result(work, tmp_path / 'whole')
            if done == kills:
                break
            work, before = tmp_path / f'run{done}', ([], 0)
    # How many states there were is the machine's doing.
    print(f'{done} kills, states (shards, epoch): {sorted(states)}')
    epochs = {epoch for _, epoch in states}
    assert 0 in epochs and epochs & {*range(1, EPOCHS)}


@pytest.mark.parametrize('what', ['shard', 'checkpoint'])
def test_killed_within_a_write(forked, config, tmp_path, what):
    """The kernel ends the process in the middle of a shard or checkpoint."""
    config()
    whole = forked('config.py', '--work-dir', 'whole', '--no-rehearsal')
    assert whole.status == [0], whole.output[-3000:]
    # The second write of its kind stops halfway: the first has been done.
    name = dict(shard='000001.npy', checkpoint='epoch_2.pth')[what]
    setup = f"""
import resource
def hook(event, args):
    if event == 'open' and '/.{name}.' in str(args[0]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
sys.addaudithook(hook)
"""
    run = forked(
        *('config.py', '--work-dir', 'run', '--no-rehearsal'), setup=setup
    )
    assert run.status == [-signal.SIGXFSZ], run.output[-3000:]
    (cut,) = (tmp_path / 'run').rglob('.*.tmp')
    assert name in cut.name and cut.stat().st_size == 500
    assert state(tmp_path / 'run')[1] == (what == 'checkpoint')
    again = forked(
        *('config.py', '--work-dir', 'run', '--resume', '--no-rehearsal')
    )
    assert again.status == [0], again.output[-3000:]
    same_result(tmp_path / 'run', tmp_path / 'whole')


# Kills the second of two processes in its second call of a function. Both
# leave their process ids.
SECOND_DIES = """
import time
import csd_mmrazor.{module} as module
count = [0]
def called(*args, original=module.{name}, **kwargs):
    count[0] += 1
    if count[0] == 1:
        with open('pid' + os.environ['RANK'], 'w') as file:
            file.write(str(os.getpid()))
    if count[0] == 2 and os.environ['RANK'] == '1':
        while not os.path.exists('pid0'):
            time.sleep(0.01)
        {kill}
    return original(*args, **kwargs)
module.{name} = called
"""
KILL = 'os.kill(os.getpid(), signal.SIGKILL)'


def all_are_gone(folder):
    """Wait until neither process that left its id there is alive."""
    start = time.monotonic()
    for rank in range(2):
        pid = (folder / f'pid{rank}').read_text()
        with suppress(FileNotFoundError, ProcessLookupError):
            # That of a process which nobody has waited for is empty.
            while Path(f'/proc/{pid}/cmdline').read_bytes():
                assert time.monotonic() - start < TIMEOUT
                time.sleep(0.1)


@pytest.mark.parametrize('moment', ['synthesis', 'training'])
def test_a_process_that_dies_ends_the_job(forked, config, tmp_path, moment):
    """torchrun, one of whose processes is killed; then one goes on alone."""
    config(
        **{f'{SYNTHESIS}.init_iters': 10**6} if moment == 'synthesis' else {}
    )
    module, name = dict(
        synthesis=('utils.progress', 'Progress.step'),
        training=('models', 'CSDDistillation.train_step'),
    )[moment]
    dies = SECOND_DIES.format(module=module, name=name, kill=KILL)
    job = forked(
        *(f'--master_port={free_port()}', '--nproc_per_node=2'),
        *(ROOT / 'tools/train.py', 'config.py', '--launcher', 'pytorch'),
        *('--work-dir', 'run', '--no-rehearsal'),
        tool='launch.py',
        setup='fork_workers()' + dies,
        timeout=TIMEOUT,
    )
    # It ended by itself, with torchrun's report.
    assert job.status == [1], job.output
    assert re.search(
        r'rank\s*: 1 \(local_rank: 1\)\n\s*exitcode\s*: -9', job.output
    )
    all_are_gone(tmp_path)

    alone = forked(
        *('config.py', '--work-dir', 'run', '--resume', '--no-rehearsal'),
        *('--cfg-options', f'{SYNTHESIS}.init_iters=4'),
    )
    assert alone.status == [0], alone.output[-3000:]
    rounds = [
        (s.epoch, s.index) for s in BankFolder(tmp_path / 'run/bank').shards
    ]
    # Two processes had made two rounds for the first epoch.
    of_first = [(0, 0)] if moment == 'synthesis' else [(0, 0), (0, 1)]
    assert sorted(rounds) == sorted(
        [(-1, i) for i in range(4)] + of_first + [(1, 0), (2, 0)]
    )


# Two nodes of one process each, on one machine.
NODES = """
import os, runpy, signal, sys
import fork_server

pids = []
for rank in '01':
    pids.append(os.fork())
    if pids[-1] == 0:
        fork_server.fork_workers()
        sys.argv = ['TOOLS/launch.py', '--nnodes=2', '--node_rank=' + rank]
        sys.argv += ['--master_addr=127.0.0.1', '--master_port=PORT']
        sys.argv += ['--nproc_per_node=1', 'TOOLS/train.py', 'config.py']
        sys.argv += '--launcher pytorch --work-dir run --no-rehearsal'.split()
        code = fork_server.end_of(runpy.run_path, sys.argv[0])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
print('CODES', *codes)
"""


def test_a_node_that_dies_ends_the_job(forked, config, tmp_path):
    """Two nodes of one process each, on one machine; one is killed."""
    config()
    text = NODES.replace('TOOLS', str(ROOT / 'tools'))
    (tmp_path / 'nodes.py').write_text(text.replace('PORT', str(free_port())))
    kill = f'os.kill(os.getppid(), signal.SIGKILL); {KILL}'
    done = forked(
        module='nodes',
        setup=SECOND_DIES.format(
            module='models', name='CSDDistillation.train_step', kill=kill
        ),
        timeout=TIMEOUT,
    )
    assert '2 processes x 16 images: effective batch 32' in done.output
    ended = re.search(r'CODES [1-9]\d* -9', done.output)
    assert ended, done.output[-5000:]
    all_are_gone(tmp_path)


def test_a_second_run_in_a_work_dir_is_refused(run, forked, config, tmp_path):
    config(**{f'{SYNTHESIS}.init_iters': 10**6})
    first = subprocess.Popen(
        [sys.executable, ROOT / 'tools/train.py', 'config.py']
        + ['--work-dir', 'run', '--no-rehearsal'],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (tmp_path / 'run/config.py').exists():
            assert first.poll() is None
            time.sleep(0.1)
        before = (tmp_path / 'run/config.py').read_text()
        for processes in (1, 2):
            second = forked(
                *('config.py', '--work-dir', 'run', '--resume'),
                *('--cfg-options', 'randomness.seed=5'),
                processes=processes,
            )
            assert second.status[0] == 1
            assert 'Another run is in the work dir run' in second.output
            assert f'process {first.pid} on ' in second.output
            assert 'Traceback' not in second.output
        assert (tmp_path / 'run/config.py').read_text() == before
        assert len(list((tmp_path / 'run').iterdir())) == 3
    finally:
        first.kill()
        first.wait()
    third = forked(
        *('config.py', '--work-dir', 'run', '--resume', '--no-rehearsal'),
        *('--cfg-options', f'{SYNTHESIS}.init_iters=4'),
    )
    assert third.status == [0], third.output[-3000:]

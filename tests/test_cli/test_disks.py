# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Disks that are full or read-only, and files that are not what they were."""

import hashlib
import os
import shutil
import signal
import subprocess

import pytest
from test_kills import EPOCHS, config, same_result  # noqa: F401

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.utils import verify_archive

# Fills the disk when the process opens a file; without a disk of our own,
# the process is kept from writing large files, which fails the same way.
FILL = """
import resource
disk = {disk!r}
def hook(event, args):
    if event == 'open' and '/.{name}.' in str(args[0]):
        if not disk:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        elif not os.path.exists(disk + '/filler'):
            filler = os.open(disk + '/filler', os.O_WRONLY | os.O_CREAT)
            try:
                while True:
                    os.write(filler, bytes(4096))
            except OSError:
                pass
            for _ in range(4096):
                try:
                    os.write(filler, b'0')
                except OSError:
                    break
            os.close(filler)
sys.addaudithook(hook)
"""


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own, or None where none can be mounted."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', str(folder)]
    try:
        mounted = not subprocess.run(mount, capture_output=True).returncode
    except OSError:
        mounted = False
    yield folder if mounted else None
    if mounted:
        subprocess.run(['umount', '-l', str(folder)], check=True)


def contents(work):
    """Hashes of the bank and the checkpoints."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in (work, work / 'bank')
        for path in folder.iterdir()
        if path.suffix in ('.pth', '.npy', '.json')
    }


@pytest.fixture(scope='module')
def once(tmp_path_factory):
    """Where the runs are that each test has a copy of."""
    return tmp_path_factory.mktemp('once')


@pytest.fixture
def whole(forked, config, once):  # noqa: F811
    """A run that met with nothing."""
    config(**{'default_hooks.checkpoint.max_keep_ckpts': 3})
    work = once / 'whole'
    if not work.exists():
        done = forked('config.py', '--work-dir', work, '--no-rehearsal')
        assert done.status == [0], done.output[-3000:]
    return work


@pytest.mark.parametrize('name', ['000002.npy', 'epoch_2.pth'])
def test_a_full_disk(forked, whole, tmp_path, disk, name):
    work = (disk or tmp_path) / 'run'
    setup = FILL.format(disk=str(disk or ''), name=name)
    full = forked(
        *('config.py', '--work-dir', work, '--no-rehearsal'), setup=setup
    )
    assert full.status == [1], full.output[-3000:]
    assert len(full.stderr.splitlines()) < 24, full.stderr
    assert 'OSError: [Errno ' in full.stderr
    what = 'free some space' if disk else 'raise the limit of file sizes'
    assert f'intact: {what}' in full.stderr
    assert f'{name}' in full.stderr and 'Traceback' not in full.stderr
    if disk:
        assert 'No space left on device' in full.stderr
        assert shutil.disk_usage(disk).free == 0
    # What was there before is whole.
    bank = BankFolder(work / 'bank')
    for shard in bank.shards:
        bank.read(shard)
    for path in work.glob('*.pth'):
        verify_archive(path)
    assert (work / 'epoch_1.pth').exists() == (name == 'epoch_2.pth')
    if disk:
        (disk / 'filler').unlink()
    resumed = forked(
        'config.py', '--work-dir', work, '--resume', '--no-rehearsal'
    )
    assert resumed.status == [0], resumed.output[-3000:]
    same_result(work, whole)


def test_a_read_only_work_dir(forked, config, tmp_path, disk):  # noqa: F811
    config()
    if disk:
        work = disk / 'run'
        options = 'mount', '-o', 'remount,ro', str(disk)
        subprocess.run(options, check=True)
        why = 'Read-only file system'
    else:  # the superuser may write anywhere else
        (tmp_path / 'file').write_text('')
        work, why = tmp_path / 'file/run', 'Not a directory'
    done = forked('config.py', '--work-dir', work)
    assert done.status == [1]
    assert f'{why}. The work dir cannot be written to' in done.stderr
    assert len(done.stderr.splitlines()) < 10


@pytest.fixture
def stopped(forked, whole, once, tmp_path):
    """A run that was killed when it was to write its last checkpoint."""
    setup = f"""
def hook(event, args):
    if event == 'open' and '/.epoch_{EPOCHS}.pth' in str(args[0]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""
    work = once / 'run'
    if not work.exists():
        done = forked(
            *('config.py', '--work-dir', work, '--no-rehearsal'), setup=setup
        )
        assert done.status == [-signal.SIGKILL], done.output[-3000:]
    copy = shutil.copytree(work, tmp_path / 'run')
    (copy / 'last_checkpoint').write_text(str(copy / 'epoch_2.pth'))
    return copy


@pytest.mark.parametrize('damage', ['lost', 'altered', 'cut'])
def test_a_shard_that_is_not_what_it_was(forked, stopped, whole, damage):
    shard = stopped / 'bank/000001.npy'
    content = shard.read_bytes()
    if damage == 'lost':
        shard.unlink()
    elif damage == 'cut':
        os.truncate(shard, len(content) // 2)
    else:
        shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    before = contents(stopped)
    told = forked(
        'config.py', '--work-dir', stopped, '--resume', '--no-rehearsal'
    )
    assert told.status == [1]
    assert f'BankError: Shard {shard} of the image bank' in told.stderr
    assert 'Restore' in told.stderr and len(told.stderr.splitlines()) < 24
    assert contents(stopped) == before
    shard.write_bytes(content)
    resumed = forked(
        'config.py', '--work-dir', stopped, '--resume', '--no-rehearsal'
    )
    assert resumed.status == [0], resumed.output[-3000:]
    same_result(stopped, whole)


def test_a_checkpoint_that_was_cut(forked, stopped, whole):
    path = stopped / 'epoch_2.pth'
    os.truncate(path, path.stat().st_size - 100)
    before = contents(stopped)
    named = forked('config.py', '--work-dir', stopped, '--resume', path)
    assert named.status == [1]
    assert f'{path} was cut short or altered' in named.stderr
    assert contents(stopped) == before
    resumed = forked(
        'config.py', '--work-dir', stopped, '--resume', '--no-rehearsal'
    )
    assert resumed.status == [0], resumed.output[-3000:]
    assert f'{path} was cut short or altered' in resumed.stdout
    assert 'resumed epoch: 1' in resumed.stdout
    same_result(stopped, whole)

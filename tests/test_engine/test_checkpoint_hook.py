# Copyright (c) csd_mmrazor developers. All rights reserved.
import shutil
from pathlib import Path

import pytest
import torch
from conftest import network
from mmengine.runner import CheckpointLoader

from csd_mmrazor.utils import CheckpointError, check_whole, latest_checkpoint

KEEP = {'default_hooks.checkpoint.max_keep_ckpts': 5}


@pytest.fixture
def trained(tiny_runner):
    runner = tiny_runner(**KEEP)
    runner.train()
    return runner


def cut(path):
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[: len(content) // 2])


def alter(path):
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 1
    Path(path).write_bytes(content)


@pytest.mark.parametrize('damage', [cut, alter, Path.unlink])
def test_resumes_from_the_last_whole_one(trained, tiny_runner, caplog, damage):
    weights = {k: v.clone() for k, v in trained.model.state_dict().items()}
    damage(Path(trained.work_dir, 'epoch_2.pth'))
    again = tiny_runner(resume=True, **KEEP)
    again.train()
    log = next(Path(again.log_dir).glob('*.log')).read_text()
    assert 'epoch_2.pth' in log and 'WARNING' in log
    assert 'resumed epoch: 1' in log
    for key, value in again.model.state_dict().items():
        assert torch.equal(value, weights[key])


def test_which_one_is_the_latest(tmp_path):
    def write(name):
        torch.save(dict(a=torch.zeros(9)), tmp_path / name)

    assert latest_checkpoint(tmp_path) is None
    for name in ('epoch_9.pth', 'epoch_10.pth', 'best_top1_epoch_11.pth'):
        write(name)
    newest = str(tmp_path / 'epoch_10.pth')
    assert latest_checkpoint(tmp_path) == newest
    # Killed while it was written.
    (tmp_path / 'last_checkpoint').write_text('')
    assert latest_checkpoint(tmp_path) == newest
    # Of a work dir that has moved.
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_9.pth')
    assert latest_checkpoint(tmp_path) == str(tmp_path / 'epoch_9.pth')
    cut(tmp_path / 'epoch_9.pth')
    # Not epoch_10: it is of another, earlier run.
    with pytest.raises(CheckpointError, match='None .*epoch_9.pth.*Restore'):
        latest_checkpoint(tmp_path)


def test_what_is_whole(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.arange(10_000)), path)
    check_whole(path)
    whole = path.read_bytes()
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        length = torch.randint(len(whole), (1,), generator=rng).item()
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match='a.pth was cut short'):
            check_whole(path)
    torch.save(dict(a=torch.arange(10_000)), path)
    alter(path)
    with pytest.raises(CheckpointError, match=r'altered \(a/data/0\)'):
        check_whole(path)
    with pytest.raises(CheckpointError, match=r'altered \(a/data/0\)'):
        CheckpointLoader.load_checkpoint(str(path))


def test_only_a_checkpoint_of_the_same_run_is_resumed(trained, tiny_runner):
    best = next(Path(trained.work_dir).glob('best*.pth'))
    runner = tiny_runner(**KEEP)
    runner._load_from, runner._resume = str(best), True
    with pytest.raises(CheckpointError, match='has no optimizer. Resume from'):
        runner.train()
    wider = tiny_runner(
        resume=True, **KEEP, **{'model.architecture': network(base_channels=8)}
    )
    with pytest.raises(CheckpointError, match='of another model: .* differ'):
        wider.train()


def test_old_ones_are_removed(tiny_runner):
    options = {
        'default_hooks.checkpoint.max_keep_ckpts': 2,
        'train_cfg.max_epochs': 4,
    }
    runner = tiny_runner(**options)
    work = Path(runner.work_dir)
    work.mkdir(exist_ok=True)
    runner.train()
    names = {path.name for path in work.glob('epoch*')}
    assert names == {'epoch_3.pth', 'epoch_4.pth'}
    assert len(list(work.glob('best*'))) == 1
    # One that a killed run left goes with the next that is written.
    shutil.copy(work / 'epoch_3.pth', work / 'epoch_1.pth')
    (work / 'epoch_4.pth').unlink()
    (work / 'last_checkpoint').write_text(str(work / 'epoch_3.pth'))
    again = tiny_runner(resume=True, **options)
    again.train()
    assert {path.name for path in work.glob('epoch*')} == names

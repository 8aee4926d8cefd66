# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What rounds leave to later ones: kept, resumed, and agreed on."""

import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from csd_mmrazor.datasets import BankError, BankFolder
from csd_mmrazor.engine.hooks import lasting_state
from csd_mmrazor.models import ImageSynthesizer, NonFiniteSynthesisError

SYNTHESIS = 'default_hooks.synthesis'
META = dict(
    type='MetaGenerator',
    rule='fomaml',
    optimizer=dict(type='Adam', lr=0.02, betas=(0.5, 0.999)),
)
# Every kind of lasting state: a meta-generator with its optimizer, the head
# of a contrastive loss, and averages over rounds.
OPTIONS = {
    'model.aux_head': None,
    f'{SYNTHESIS}.init_rounds': 3,
    f'{SYNTHESIS}.synthesizer.meta': META,
    f'{SYNTHESIS}.synthesizer.losses': dict(
        _delete_=True,
        loss_oh=dict(type='OneHotLoss'),
        loss_bn=dict(type='MovingBNStatisticsLoss'),
        loss_cr=dict(type='ContrastiveLoss', embed_dim=4, memory_size=20),
        loss_adv=dict(type='AdversarialLoss'),
    ),
}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def hook_of(runner):
    return next(h for h in runner.hooks if type(h).__name__ == 'SynthesisHook')


def outcome(runner):
    """Digest of the bank, lasting state and weights after a run."""
    return (
        BankFolder(Path(runner.work_dir, 'bank')).digest(),
        hook_of(runner).synthesizer.lasting_state(),
        runner.model.state_dict(),
    )


def assert_same(a, b):
    assert a[0] == b[0]
    assert equal(a[1], b[1])
    assert equal(a[2], b[2])


class Stop(BaseException):
    """Stands for a kill: nothing handles it."""


@pytest.fixture
def stop_in(monkeypatch):
    """Stop the run in the round of a number."""

    def stop_in(number):
        rounds = []
        synthesize = ImageSynthesizer.synthesize

        def stopped(self, *args, **kwargs):
            rounds.append(1)
            if len(rounds) == number:
                raise Stop
            return synthesize(self, *args, **kwargs)

        monkeypatch.setattr(ImageSynthesizer, 'synthesize', stopped)

    return stop_in


def test_rounds_build_on_each_other(tiny_runner):
    runner = tiny_runner(**OPTIONS)
    runner.train()
    digest, state, _ = outcome(runner)
    parts = {'.'.join(name.split('.')[:2]) for name in state}
    assert parts == {
        'losses.loss_bn',
        'losses.loss_cr',
        'meta.weights',
        'meta.optimizer',
    }
    assert state['losses.loss_bn.rounds'] == 5
    assert state['meta.optimizer.0.step'] == 5
    plain = tiny_runner(
        'plain', **{**OPTIONS, f'{SYNTHESIS}.synthesizer.meta': None}
    )
    plain.train()
    assert outcome(plain)[0] != digest


def test_a_run_of_csd_has_no_files(tiny_runner):
    runner = tiny_runner()
    runner.train()
    assert hook_of(runner).synthesizer.lasting_state() == {}
    assert not list(Path(runner.work_dir, 'bank').glob('state_*'))


@pytest.mark.parametrize('number', [1, 3, 5])
def test_resumes_where_it_was(tiny_runner, stop_in, monkeypatch, number):
    whole = tiny_runner('whole', **OPTIONS)
    whole.train()
    stop_in(number)
    with pytest.raises(Stop):
        tiny_runner('cut', **OPTIONS).train()
    monkeypatch.undo()
    resumed = tiny_runner('cut', resume=True, **OPTIONS)
    resumed.train()
    assert_same(outcome(whole), outcome(resumed))


def test_killed_between_state_and_images(tiny_runner, monkeypatch):
    """The state is there already, its images are not."""
    whole = tiny_runner('whole', **OPTIONS)
    whole.train()
    append = BankFolder.append

    def killed(self, *args, **kwargs):
        if len(self.shards) == 4:
            raise Stop
        return append(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(BankFolder, 'append', killed)
        with pytest.raises(Stop):
            tiny_runner('cut', **OPTIONS).train()
    resumed = tiny_runner('cut', resume=True, **OPTIONS)
    resumed.train()
    assert_same(outcome(whole), outcome(resumed))


def test_resuming_older_checkpoints(tiny_runner, monkeypatch):
    monkeypatch.setattr(lasting_state, 'KEPT_EPOCHS', 2)
    options = {
        **OPTIONS,
        'train_cfg.max_epochs': 4,
        'default_hooks.checkpoint.max_keep_ckpts': 9,
    }
    whole = tiny_runner(**options)
    whole.train()
    expected = outcome(whole)
    names = sorted(
        path.name for path in Path(whole.work_dir, 'bank').glob('state_*')
    )
    # Shards 0 to 2 are the initial ones.
    assert names == [f'state_{n:06d}_{n:06d}.pth' for n in (4, 5, 6)]
    for epoch in (2, 1):
        runner = tiny_runner(**options)
        runner._load_from = f'{whole.work_dir}/epoch_{epoch}.pth'
        runner._resume = True
        if epoch == 2:
            runner.train()
            assert_same(expected, outcome(runner))
        else:
            (Path(whole.work_dir) / 'bank' / names[0]).unlink(missing_ok=True)
            with pytest.raises(BankError, match='Resume from a later'):
                runner.train()


def test_a_failed_round_leaves_nothing(tiny_runner, monkeypatch):
    """Heads that a diverging round spoilt are as they were before it."""
    runner = tiny_runner(**OPTIONS)
    runner.train()
    hook = hook_of(runner)
    synthesizer = hook.synthesizer
    before = {k: v.clone() for k, v in synthesizer.lasting_state().items()}
    synthesizer.losses['loss_oh'].loss_weight = float('inf')
    with pytest.raises(NonFiniteSynthesisError):
        synthesizer.synthesize(hook.networks, 10, seed=0)
    assert equal(before, synthesizer.lasting_state())


def test_processes_agree(run, tmp_path, tiny_config):
    """Two processes, of which one has nothing to do in the last group."""
    cfg = tiny_config('two', **OPTIONS)
    cfg.experiment_name = 'two'
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'check.py').write_text(
        f'import sys\nsys.path.insert(0, {str(ROOT)!r})\n'
        """
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, get_rank
from mmengine.runner import Runner
import csd_mmrazor
from csd_mmrazor.engine.hooks.lasting_state import shared_state
cfg = Config.fromfile('config.py')
cfg.launcher = 'pytorch'
runner = Runner.from_cfg(cfg)
own = dict(a=torch.tensor([1.0, 2.0]) * (1 + 2 * get_rank()))
assert shared_state(own, True)['a'].tolist() == [2, 4]
assert shared_state(own, get_rank() == 1)['a'].tolist() == [3, 6]
runner.train()
hook = next(h for h in runner.hooks if type(h).__name__ == 'SynthesisHook')
a, b = all_gather_object(hook.synthesizer.lasting_state())
assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
# 3 rounds in 2 groups, then 2 groups of 2.
assert a['losses.loss_bn.rounds'] == 4
print('AGREED', len(hook.bank))
"""
    )
    done = run(
        sys.executable,
        *('-m', 'torch.distributed.run', '--nproc_per_node=2'),
        *('--master_port=29617', 'check.py'),
    )
    assert done.stdout.count(f'AGREED {16 * 7}') == 2

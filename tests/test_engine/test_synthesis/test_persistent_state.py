# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What rounds leave to later ones: kept, resumed, and agreed on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Stop, equal
from PIL import Image

from csd_mmrazor.datasets import BankError, BankFolder
from csd_mmrazor.engine.synthesis import persistent_state
from csd_mmrazor.engine.synthesis.persistent_state import _fits_moment
from csd_mmrazor.models import ImageSynthesizer, NonFiniteSynthesisError

SYNTHESIS = 'default_hooks.synthesis'
META = dict(
    type='MetaGenerator',
    rule='fomaml',
    optimizer=dict(type='Adam', lr=0.02, betas=(0.5, 0.999)),
)
# Every kind of persistent state: a meta-generator with its optimizer, the head
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


# As DFQ: generator, statistics and optimizer last, and old images do not.
LASTING = {
    'model.aux_head': None,
    'model.student_loss': None,
    'train_cfg.max_epochs': 5,
    'train_dataloader.dataset.capacity': 24,
    f'{SYNTHESIS}.init_rounds': 0,
    f'{SYNTHESIS}.synthesizer.meta': dict(type='LastingGenerator', life=3),
    f'{SYNTHESIS}.synthesizer.optimizer_lasts': True,
    f'{SYNTHESIS}.synthesizer.latents': 'fresh',
    f'{SYNTHESIS}.synthesizer.labels': 'none',
    f'{SYNTHESIS}.synthesizer.keep': 'last',
    f'{SYNTHESIS}.synthesizer.num_images': 24,
    f'{SYNTHESIS}.synthesizer.losses': dict(
        _delete_=True,
        loss_bn=dict(type='BNStatisticsLoss'),
        loss_adv=dict(type='AdversarialLoss'),
    ),
}


def hook_of(runner):
    return next(h for h in runner.hooks if type(h).__name__ == 'SynthesisHook')


def outcome(runner):
    """Digest of the bank, persistent state and weights after a run."""
    return (
        BankFolder(Path(runner.work_dir, 'bank')).digest(),
        hook_of(runner).synthesizer.persistent_state(),
        runner.model.state_dict(),
    )


def assert_same(a, b):
    assert a[0] == b[0]
    assert equal(a[1], b[1])
    assert equal(a[2], b[2])


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
        'meta.buffers',
        'meta.optimizer',
        'moments.loss_cr',
    }
    assert state['moments.loss_cr.0.step'] == 5 * 2
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
    assert hook_of(runner).synthesizer.persistent_state() == {}
    assert not list(Path(runner.work_dir, 'bank').glob('state_*'))


@pytest.mark.parametrize(
    'options, number',
    [(OPTIONS, 1), (OPTIONS, 3), (OPTIONS, 5), (LASTING, 1), (LASTING, 4)],
)
def test_resumes_where_it_was(
    tiny_runner, stop_in, monkeypatch, options, number
):
    whole = tiny_runner('whole', **options)
    whole.train()
    stop_in(number)
    with pytest.raises(Stop):
        tiny_runner('cut', **options).train()
    monkeypatch.undo()
    resumed = tiny_runner('cut', resume=True, **options)
    resumed.train()
    assert_same(outcome(whole), outcome(resumed))


def test_what_lasts_of_dfq(tiny_runner):
    runner = tiny_runner(**LASTING)
    runner.train()
    synthesizer = hook_of(runner).synthesizer
    # 5 rounds of 2 steps; after 3, the weights are drawn again, without what
    # the optimizer knows of the old ones.
    assert synthesizer.moments['generator']['0.step'] == 2 * 2
    assert synthesizer.meta.age == 2
    folder = BankFolder(Path(runner.work_dir, 'bank'))
    assert [(s.name, s.count, s.epoch) for s in folder.shards] == [
        ('000004.npy', 24, 4)
    ]
    # An older checkpoint would need images that are no longer there.
    Path(runner.work_dir, 'epoch_5.pth').unlink()
    Path(runner.work_dir, 'last_checkpoint').unlink()
    older = tiny_runner(resume=True, **LASTING)
    older.train()  # epoch 4, whose successor has its images
    assert_same(outcome(runner), outcome(older))


def test_images_that_were_dropped_are_missed(tiny_runner):
    options = {**LASTING, 'default_hooks.checkpoint.max_keep_ckpts': 9}
    runner = tiny_runner(**options)
    runner.train()
    for epoch in (4, 5):
        Path(runner.work_dir, f'epoch_{epoch}.pth').unlink()
    Path(runner.work_dir, 'last_checkpoint').unlink(missing_ok=True)
    with pytest.raises(BankError, match='of epoch 3, .* lacks the images'):
        tiny_runner(resume=True, **options).train()


def test_killed_between_state_and_images(tiny_runner, monkeypatch):
    """The state is there already, its images are not."""
    whole = tiny_runner('whole', **OPTIONS)
    whole.train()
    add_rounds = BankFolder.add_rounds

    def killed(self, *args, **kwargs):
        if len(self.shards) == 4:
            raise Stop
        return add_rounds(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(BankFolder, 'add_rounds', killed)
        with pytest.raises(Stop):
            tiny_runner('cut', **OPTIONS).train()
    resumed = tiny_runner('cut', resume=True, **OPTIONS)
    resumed.train()
    assert_same(outcome(whole), outcome(resumed))


def test_resuming_older_checkpoints(tiny_runner, monkeypatch):
    monkeypatch.setattr(persistent_state, 'KEPT_EPOCHS', 2)
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


def test_imported_images_bring_their_state_along(tiny_runner, tmp_path):
    """It goes on, in the run and when that is resumed."""
    options = dict(OPTIONS, **{'train_cfg.max_epochs': 1})
    first = tiny_runner('first', **options)
    first.train()
    state = hook_of(first).synthesizer.persistent_state()
    options['train_dataloader.dataset.init_bank'] = str(
        tmp_path / 'first/bank'
    )
    without_rounds = dict(options, **{f'{SYNTHESIS}.rounds': 0})
    second = tiny_runner('second', **without_rounds)
    second.train()
    found = hook_of(second).synthesizer.persistent_state()
    assert equal(found, state)
    (kept,) = (tmp_path / 'second/bank').glob('state_*')
    assert kept.name in BankFolder(tmp_path / 'second/bank').states
    # A round of the next epoch starts from it, wherever it was loaded from.
    for folder in (tmp_path / 'first/bank').glob('state_*'):
        folder.unlink()
    options['train_cfg.max_epochs'] = 2
    resumed = tiny_runner('second', resume=True, **without_rounds)
    resumed.train()
    assert equal(hook_of(resumed).synthesizer.persistent_state(), state)


@pytest.mark.parametrize(
    'source, reason',
    [
        ('csd', 'no state of a generator'),
        ('other', 'is not the state of this'),
    ],
)
def test_a_state_that_does_not_come_along_is_told(
    tiny_runner, tmp_path, source, reason
):
    of_source = {} if source == 'csd' else dict(OPTIONS)
    if of_source:
        of_source[f'{SYNTHESIS}.synthesizer.losses'] = dict(
            OPTIONS[f'{SYNTHESIS}.synthesizer.losses'],
            loss_cr=dict(type='ContrastiveLoss', embed_dim=5, memory_size=20),
        )
    tiny_runner(source, **of_source, **{'train_cfg.max_epochs': 1}).train()
    bank = str(tmp_path / source / 'bank')
    options = {'train_dataloader.dataset.init_bank': bank}
    runner = tiny_runner(**OPTIONS, **options)
    runner.train_loop.run = lambda: runner.call_hook('before_train')
    runner.train()
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    assert f'it cannot go on from init_bank={bank}: ' in log
    assert reason in log and 'starts with random weights' in log


@pytest.mark.parametrize('labels', ['folders', 'teacher'])
def test_pictures_have_no_state_to_bring_along(tiny_runner, tmp_path, labels):
    for label in range(10):
        path = tmp_path / f'pictures/{label}/a.png'
        path.parent.mkdir(parents=True)
        Image.new('L', (8, 8), 20 * label).save(path)
    dataset = 'train_dataloader.dataset'
    runner = tiny_runner(
        **OPTIONS,
        **{
            f'{dataset}.init_bank': str(tmp_path / 'pictures'),
            f'{dataset}.init_labels': labels,
        },
    )
    runner.train_loop.run = lambda: runner.call_hook('before_train')
    runner.train()
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    assert 'is a folder of pictures' in log and 'cannot go on' not in log
    # It is right about all of them where it gave the labels itself.
    of_teacher = labels == 'teacher'
    assert ('are what the teacher takes them for' in log) == of_teacher
    assert ('The teacher recognises' in log) == (not of_teacher)


@pytest.fixture
def saved(tmp_path):
    """Write a state and its shard; returns what is needed to read it."""
    torch.manual_seed(0)
    expected = {
        'losses.loss_bn.mean': torch.randn(7),
        'losses.loss_bn.rounds': torch.tensor(1),
        'meta.weights.a': torch.randn(3, 2),
    }
    state = {
        **expected,
        'meta.optimizer.0.step': torch.tensor(1.0),
        'meta.optimizer.0.exp_avg': torch.randn(3, 2),
    }
    folder = BankFolder(tmp_path / 'bank', (1, 2, 2), 10)

    def save(**values):
        state.update(values)
        persistent_state.save_state(state, folder, 1)
        images = np.zeros((5, 1, 2, 2), np.uint8)
        folder.append(images, np.zeros(5, int), 0, 0, write=True)
        path = folder.path / 'state_000000_000000.pth'
        return path, state, expected

    return save


def read_again(path, expected, with_checksum=True):
    folder = BankFolder(path.parent)
    if not with_checksum:  # as banks of earlier releases are
        folder.states.clear()
    return persistent_state.load_state(folder, expected)


@pytest.mark.parametrize('with_checksum', [True, False])
def test_a_state_is_read_as_it_was_written(saved, with_checksum):
    path, state, expected = saved()
    assert equal(read_again(path, expected, with_checksum), state)


def test_every_flipped_byte_is_noticed(saved):
    path, _, expected = saved()
    content = path.read_bytes()
    for place in range(0, len(content), 37):
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        path.write_bytes(bytes(altered))
        with pytest.raises(BankError, match=f'{path} was cut .*checksum'):
            read_again(path, expected)


@pytest.mark.parametrize('with_checksum', [True, False])
@pytest.mark.parametrize(
    'spoil',
    [
        lambda path: path.write_bytes(path.read_bytes()[:-10]),
        lambda path: path.write_bytes(path.read_bytes()[:10]),
        lambda path: path.write_bytes(b''),
        lambda path: path.write_bytes(b'no archive' * 99),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: path.symlink_to(
            path.rename(path.parent.parent / 'elsewhere')
        ),
    ],
    ids=['cut', 'stub', 'empty', 'text', 'folder', 'link'],
)
def test_spoilt_states_are_named(saved, spoil, with_checksum):
    path, _, expected = saved()
    spoil(path)
    with pytest.raises(BankError, match=f'{path} was cut .*Restore'):
        read_again(path, expected, with_checksum)


@pytest.mark.parametrize(
    'values, message',
    [
        ({'losses.loss_bn.mean': torch.zeros(8)}, r'of \(8,\), but'),
        ({'losses.loss_bn.mean': torch.zeros(7).double()}, 'float64 of'),
        ({'losses.loss_bn.mean': 3}, 'is no tensor'),
        ({'losses.other': torch.zeros(1)}, 'losses.other is not known'),
        ({'meta.optimizer.1.step': torch.zeros(1)}, 'is not known'),
        ({'meta.optimizer.0.exp_avg': torch.zeros(2)}, 'exp_avg is'),
        ({'meta.optimizer.x.y': torch.zeros(1)}, 'is not known'),
        ({'nodot': torch.zeros(1)}, 'nodot is not known'),
        ({'moments.loss_bn.2.step': torch.zeros(1)}, 'is not known'),
        ({'moments.loss_bn.0.step': torch.zeros(2)}, 'is not known'),
        ({'moments.other.0.step': torch.zeros(1)}, 'is not known'),
        ({'moments.generator.3.step': torch.zeros(1)}, 'is not known'),
    ],
)
def test_states_of_another_synthesizer(saved, values, message):
    path, _, expected = saved(**values)
    with pytest.raises(BankError, match=f'{path} is not .*{message}'):
        read_again(path, expected)


def test_a_state_that_lacks_something(saved):
    path, _, expected = saved()
    # As those of releases that kept no statistics of a meta-generator.
    expected['meta.buffers.running_mean'] = torch.zeros(2)
    read_again(path, expected)
    expected['losses.more'] = torch.zeros(1)
    with pytest.raises(BankError, match='it has no losses.more'):
        read_again(path, expected)


def test_runs_of_earlier_releases_go_on(tiny_runner):
    """Their manifests have no checksums of states."""
    options = {**OPTIONS, 'default_hooks.checkpoint.max_keep_ckpts': 5}
    whole = tiny_runner('whole', **options)
    whole.train()
    work = Path(whole.work_dir)
    older = work.with_name('older')
    shutil.copytree(work, older)
    folder = BankFolder(older / 'bank')
    assert folder.states.keys() == {
        path.name for path in folder.path.glob('state_*')
    }
    folder.states.clear()
    folder.keep(folder.shards[:-1], write=True)
    assert 'state_' not in (folder.path / 'manifest.json').read_text()
    (older / 'epoch_2.pth').unlink(missing_ok=True)
    runner = tiny_runner('older', **options)
    first = Path(whole.work_dir, 'epoch_1.pth')
    runner._load_from, runner._resume = str(first), True
    runner.train()
    assert_same(outcome(whole), outcome(runner))


def test_names_of_losses_may_have_any_signs():
    expected = {'losses.loss-cr (2).head.weight': torch.zeros(2, 3)}
    name = 'moments.loss-cr (2).0.exp_avg'
    assert _fits_moment(name, torch.zeros(2, 3), expected)
    assert not _fits_moment(name, torch.zeros(2, 4), expected)
    assert not _fits_moment('moments.a.b.0.step', torch.zeros(()), expected)


def test_a_failed_round_leaves_nothing(tiny_runner, monkeypatch):
    """Heads that a diverging round spoilt are as they were before it."""
    runner = tiny_runner(**OPTIONS)
    runner.train()
    hook = hook_of(runner)
    synthesizer = hook.synthesizer
    before = {k: v.clone() for k, v in synthesizer.persistent_state().items()}
    synthesizer.losses['loss_oh'].loss_weight = float('inf')
    with pytest.raises(NonFiniteSynthesisError):
        synthesizer.synthesize(hook.round_runner.networks, 10, seed=0)
    assert equal(before, synthesizer.persistent_state())


def test_processes_agree(forked, tmp_path, tiny_config):
    """Two processes, of which one has nothing to do in the last group."""
    cfg = tiny_config('two', **OPTIONS)
    cfg.experiment_name = 'two'
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'check.py').write_text(
        """
import torch
from mmengine.config import Config
from mmengine.dist import all_gather_object, get_rank
from mmengine.runner import Runner
import csd_mmrazor
from csd_mmrazor.engine.synthesis.persistent_state import shared_state
cfg = Config.fromfile('config.py')
cfg.launcher = 'pytorch'
runner = Runner.from_cfg(cfg)
own = dict(a=torch.tensor([1.0, 2.0]) * (1 + 2 * get_rank()))
assert shared_state(own, True)['a'].tolist() == [2, 4]
assert shared_state(own, get_rank() == 1)['a'].tolist() == [3, 6]
runner.train()
hook = next(h for h in runner.hooks if type(h).__name__ == 'SynthesisHook')
a, b = all_gather_object(hook.synthesizer.persistent_state())
assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
# 3 rounds in 2 groups, then 2 groups of 2.
assert a['losses.loss_bn.rounds'] == 4
# Not printed: lines of two processes may mix.
open(f'agreed_{get_rank()}', 'w').write(str(len(hook.round_runner.bank)))
"""
    )
    done = forked(processes=2, module='check')
    assert done.status == [0, 0], done.output[-3000:]
    for rank in (0, 1):
        assert (tmp_path / f'agreed_{rank}').read_text() == str(16 * 7)


def test_moments_of_what_the_generators_optimizer_trains():
    """Losses without an optimizer of their own are among it."""
    expected = {
        'meta.weights.a': torch.zeros(3),
        'losses.loss_cr.head.weight': torch.zeros(2, 4),
    }
    name = 'moments.generator.1'
    assert _fits_moment(f'{name}.exp_avg', torch.zeros(2, 4), expected)
    # As Adafactor keeps them.
    assert _fits_moment(f'{name}.row_var', torch.zeros(2, 1), expected)
    assert not _fits_moment(f'{name}.exp_avg', torch.zeros(2, 5), expected)
    assert not _fits_moment(
        'moments.generator.2.step', torch.zeros(()), expected
    )


def test_a_run_may_go_on_in_float16(saved):
    path, _, expected = saved()
    scale = {'loss_scale.last': torch.tensor(4.0)}
    assert 'loss_scale.last' not in read_again(path, {**expected, **scale})


def test_a_run_may_go_on_without_float16(saved):
    scale = torch.tensor(4.0)
    path, _, expected = saved(**{'loss_scale.last': scale})
    assert read_again(path, expected)['loss_scale.last'] == scale

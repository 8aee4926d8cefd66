# Copyright (c) csd_mmrazor developers. All rights reserved.
import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import build, equal, network
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import CheckpointLoader, Runner, ValLoop
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from mmrazor.registry import HOOKS
from torch.utils.data import DataLoader

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.engine import DurableCheckpointHook
from csd_mmrazor.engine.rehearsal import RehearsalError, rehearse
from csd_mmrazor.export import find_checkpoint
from csd_mmrazor.utils import (
    CheckpointError,
    keep_own_pointers,
    latest_checkpoint,
    set_apart_best,
    verify_archive,
)

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
    verify_archive(path)
    whole = path.read_bytes()
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        length = torch.randint(len(whole), (1,), generator=rng).item()
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match='a.pth was cut short'):
            verify_archive(path)
    torch.save(dict(a=torch.arange(10_000)), path)
    alter(path)
    with pytest.raises(CheckpointError, match=r'altered \(a/data/0\)'):
        verify_archive(path)
    with pytest.raises(CheckpointError, match=r"altered \(.*a/data/0'"):
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


def test_an_ema_that_is_left_out(tiny_runner):
    """The run does not go on from the means, which checkpoints have."""
    ema = dict(type='EMAHook', momentum=0.01)
    first = tiny_runner(
        **KEEP, **{'train_cfg.max_epochs': 1, 'custom_hooks': [ema]}
    )
    first.train()
    trained = first.model.architecture.state_dict()
    runner = tiny_runner(resume=True, **KEEP)
    seen = {}

    class Look(Hook):
        priority = 'VERY_LOW'

        def before_train(self, runner):
            state = runner.model.architecture.state_dict()
            seen.update({k: v.clone() for k, v in state.items()})

    runner.register_hook(Look())
    runner.train()
    assert equal(seen, trained)


def test_weights_that_would_be_left_out(tiny_runner):
    """MMEngine loads those of wrapped parts by names it does not save."""

    @MODELS.register_module(force=True)
    class Parallel(ImageClassifier):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.backbone = torch.nn.DataParallel(self.backbone)

    options = {
        'model.architecture': dict(
            network(), type='Parallel', _scope_='mmpretrain'
        ),
        'default_hooks.checkpoint.type': 'CheckpointHook',
        'train_cfg.max_epochs': 1,
    }
    with pytest.raises(RehearsalError, match='unexpected key in source'):
        rehearse(tiny_runner(**options))
    tiny_runner(**options).train()
    del options['default_hooks.checkpoint.type']
    names = 'by the names that .* architecture.backbone.module.conv1.weight'
    with pytest.raises(CheckpointError, match=f'(?s){names}'):
        tiny_runner(resume=True, **options).train()


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


@pytest.fixture
def names(tmp_path):
    """A work dir of three checkpoints beside another with a fourth."""
    for name in ('run/epoch_1', 'run/epoch_2', 'run/epoch_3', 'other/epoch_9'):
        path = tmp_path / f'{name}.pth'
        path.parent.mkdir(exist_ok=True)
        torch.save(dict(a=torch.zeros(9)), path)
    (tmp_path / 'run/epoch_8.pth').symlink_to(tmp_path / 'other/epoch_9.pth')
    (tmp_path / 'run/folder.pth').mkdir()
    os.mkfifo(tmp_path / 'run/pipe.pth')
    return tmp_path


@pytest.mark.parametrize(
    'content, expected',
    [
        (b'{root}/run/epoch_2.pth', 2),
        (b'/elsewhere/run/epoch_2.pth', 2),
        (b'C:\\runs\\epoch_2.pth', 2),
        (b'  epoch_2.pth\n', 2),
        ('/ä/epoch_2.pth'.encode('latin-1'), 2),
        # What names nothing that is in the work dir.
        (b'{root}/other/epoch_9.pth', 3),
        (b'../other/epoch_9.pth', 3),
        (b'epoch_8.pth', 3),
        (b'folder.pth', 3),
        (b'pipe.pth', 3),
        (b'epoch_7.pth', 3),
        (b'..', 3),
        (b'/', 3),
        (b'', 3),
        (b'\xff\xfe\x00\x9f', 3),
        (b'epoch_2.pth\0', 3),
        (b'a' * 5000, 3),
        (b'a/' * 2500 + b'epoch_2.pth', 2),
        (b'epoch_1.pth\nepoch_2.pth', 3),
        (b'https://example.org/epoch_9.pth', 3),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_the_pointer_may_name(names, content, expected):
    work = names / 'run'
    content = content.replace(b'{root}', str(names).encode())
    (work / 'last_checkpoint').write_bytes(content)
    assert latest_checkpoint(work) == str(work / f'epoch_{expected}.pth')
    assert find_checkpoint(work).name.startswith('epoch_')


@pytest.mark.parametrize(
    'content', [b'{root}/other/epoch_9.pth', b'\xff\xfe', b'a' * 5000], ids=len
)
def test_nothing_of_another_work_dir_is_resumed(names, content):
    work = names / 'copy'
    work.mkdir()
    content = content.replace(b'{root}', str(names).encode())
    (work / 'last_checkpoint').write_bytes(content)
    with pytest.raises(CheckpointError, match='--resume FILE') as error:
        latest_checkpoint(work)
    assert str(work) in str(error.value) and len(str(error.value)) < 1000
    with pytest.raises(FileNotFoundError):
        find_checkpoint(work)


@pytest.mark.parametrize(
    'pointer, kept',
    [
        ('{root}/copy/best_a_epoch_1.pth', True),
        ('{root}/run/best_a_epoch_1.pth', True),
        ('/gone/best_a_epoch_1.pth', True),
        ('{root}/run/best_a_epoch_2.pth', False),
        ('{root}/copy/epoch_1.pth', False),
        ('{root}/copy/bank', False),
        ('{root}/copy/best_bank', False),
        ('best_link.pth', False),
        ('{root}/run', False),
        ('{root}/copy/..', False),
        ('{root}/copy/', False),
        ('..', False),
        ('', False),
        ('a' * 5000, False),
        ('best_\0', False),
        (None, False),
        (7, False),
        (['{root}/run/best_a_epoch_2.pth'], False),
    ],
)
@pytest.mark.parametrize('key', ['best_ckpt', 'best_ckpt_a'])
def test_only_own_checkpoints_are_remembered(tmp_path, key, pointer, kept):
    for name in (
        *('run/best_a_epoch_1.pth', 'run/best_a_epoch_2.pth'),
        *('copy/best_a_epoch_1.pth', 'copy/epoch_1.pth', 'copy/bank/x'),
        'copy/best_bank/x',
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    work = tmp_path / 'copy'
    (work / 'best_link.pth').symlink_to(tmp_path / 'run/best_a_epoch_2.pth')
    if isinstance(pointer, str):
        pointer = pointer.replace('{root}', str(tmp_path))
    info = {key: pointer, 'best_score': 7}
    keep_own_pointers(info, work, 3)
    expected = {key: str(work / 'best_a_epoch_1.pth')} if kept else {}
    # A score without its checkpoint would keep others from being saved.
    if kept or key != 'best_ckpt':
        expected['best_score'] = 7
    assert info == expected


@pytest.mark.parametrize(
    'ids, expected',
    [
        ([1, 2, 3], [1, 2, 3]),
        ([3, 2, 2, 9], [2, 3]),
        (['/../../other/epoch_1', -1, 1.5, True, None, 3], [3]),
        ('123', []),
        (None, []),
    ],
)
def test_only_numbers_of_checkpoints_are_kept(tmp_path, ids, expected):
    info = dict(keep_ckpt_ids=ids)
    keep_own_pointers(info, tmp_path, 3)
    assert info == dict(keep_ckpt_ids=expected)


def content_of(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def expect_better(work):
    """Let the best one be of epoch 1, and whatever comes be better."""
    path = work / 'epoch_2.pth'
    checkpoint = CheckpointLoader.load_checkpoint(str(path), 'cpu')
    info = checkpoint['message_hub']['runtime_info']
    for key in info:
        if key.startswith('best_score'):
            info[key] = -1.0
        elif key.startswith('best_ckpt'):
            best = info[key].replace('epoch_2', 'epoch_1')
            info[key] = str(Path(info[key]).rename(best))
    torch.save(checkpoint, path)


@pytest.mark.parametrize('take', [shutil.copytree, shutil.move])
@pytest.mark.parametrize(
    'options',
    [
        {},
        {'default_hooks.checkpoint.type': 'CheckpointHook'},
        {
            'default_hooks.checkpoint.save_best': [
                'accuracy/top1',
                'accuracy/top5',
            ],
            'val_evaluator.topk': (1, 5),
            'test_evaluator.topk': (1, 5),
        },
    ],
)
def test_a_copied_or_moved_work_dir(tiny_runner, tmp_path, take, options):
    trained = tiny_runner('original', **options)
    trained.train()
    original, copy = Path(trained.work_dir), tmp_path / 'copy'
    expect_better(original)
    before = content_of(original)
    best = {path.name for path in original.glob('best_*')}
    assert best
    take(original, copy)
    options = {**options, 'train_cfg.max_epochs': 3}
    tiny_runner('copy', resume=True, **options).train()
    # The old best one is gone: here, and only here.
    now = {path.name for path in copy.glob('best_*')}
    assert len(now) == len(best) and not now & best
    assert (copy / 'epoch_3.pth').is_file()
    if take is shutil.copytree:
        assert content_of(original) == before
        # Without checkpoints of its own, it does not take the original's.
        for path in copy.glob('*.pth'):
            path.unlink()
        pointer = original / 'epoch_2.pth'
        (copy / 'last_checkpoint').write_text(str(pointer))
        with pytest.raises(CheckpointError, match='None of the checkpoints'):
            tiny_runner('copy', resume=True, **options).train()
        assert content_of(original) == before


def test_checkpoints_have_names_that_resume_looks_for(scope):
    name = 'epoch_{:03d}.pth'
    with pytest.raises(ValueError, match='filename_tmpl=.*epoch_N.pth'):
        HOOKS.build(dict(type='DurableCheckpointHook', filename_tmpl=name))


def test_checkpoints_stay_in_the_work_dir(scope):
    with pytest.raises(ValueError, match='out_dir=/else .* --work-dir'):
        HOOKS.build(dict(type='DurableCheckpointHook', out_dir='/else'))


@pytest.mark.parametrize('student, head', [(2, 3), (1, 2)])
def test_epochs_leave_no_gradients(tiny_runner, monkeypatch, student, head):
    """3 steps an epoch, accumulated by 2: a mean of 2 and one of 1."""
    scales = []
    scale_loss = OptimWrapper.scale_loss

    def noted(self, loss):
        scaled = scale_loss(self, loss)
        scales.append((self._accumulative_counts, (loss / scaled).item()))
        return scaled

    monkeypatch.setattr(OptimWrapper, 'scale_loss', noted)
    options = {
        **KEEP,
        'optim_wrapper.architecture.accumulative_counts': student,
        'optim_wrapper.aux_head.accumulative_counts': head,
    }
    whole = tiny_runner(**options)
    whole.train()
    expected = {1: [1, 1, 1], 2: [2, 2, 1], 3: [3, 3, 3]}
    for counts in (student, head):
        found = [round(scale) for count, scale in scales if count == counts]
        assert found == expected[counts] * 2
    # None is pending at the end, which is that of an epoch.
    assert all(param.grad is None for param in whole.model.parameters())
    weights = {k: v.clone() for k, v in whole.model.state_dict().items()}
    again = tiny_runner(**options)
    again._load_from = f'{whole.work_dir}/epoch_1.pth'
    again._resume = True
    again.train()
    for key, value in again.model.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_steps_with_several_updates_are_counted_as_one(tmp_path, monkeypatch):
    """AutoSlim updates 4 times a step, and counts so itself."""
    recorders = dict(fc=dict(type='ModuleOutputs', source='head.fc'))
    model = build(
        dict(
            type='AutoSlim',
            architecture=network(),
            mutator=dict(
                type='OneShotChannelMutator',
                channel_unit_cfg=dict(
                    type='OneShotMutableChannelUnit',
                    default_args=dict(
                        candidate_choices=[0.5, 1.0], choice_mode='ratio'
                    ),
                ),
                parse_cfg=dict(
                    type='ChannelAnalyzer',
                    demo_input=(1, 1, 8, 8),
                    tracer_type='BackwardTracer',
                ),
            ),
            distiller=dict(
                type='ConfigurableDistiller',
                teacher_recorders=recorders,
                student_recorders=recorders,
                distill_losses=dict(loss_kl=dict(type='KLDivergence')),
                loss_forward_mappings=dict(
                    loss_kl=dict(
                        preds_S=dict(recorder='fc', from_student=True),
                        preds_T=dict(recorder='fc', from_student=False),
                    )
                ),
            ),
        )
    )
    images = [
        dict(
            inputs=torch.randn(1, 8, 8),
            data_samples=DataSample().set_gt_label(label),
        )
        for label in range(6)
    ]
    scales = []
    scale_loss = OptimWrapper.scale_loss

    def noted(self, loss):
        scaled = scale_loss(self, loss)
        scales.append(round((loss / scaled).item()))
        return scaled

    monkeypatch.setattr(OptimWrapper, 'scale_loss', noted)
    Runner(
        model,
        str(tmp_path),
        train_dataloader=DataLoader(images, 2, collate_fn=pseudo_collate),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.01), accumulative_counts=4
        ),
        default_hooks=dict(checkpoint=dict(type='DurableCheckpointHook')),
        default_scope='mmrazor',
        experiment_name=f'{tmp_path.name}_updates',
    ).train()
    assert scales == [4] * 2 * 3 * 4


def test_steps_without_epochs_are_counted(tiny_config, tmp_path, monkeypatch):
    """6 steps, accumulated by 4: a mean of 4 and one of 2, resumed or not."""
    folder = BankFolder(tmp_path / 'bank', (1, 8, 8), 10)
    images = torch.randint(256, (32, 1, 8, 8), dtype=torch.uint8).numpy()
    folder.append(images, np.arange(32) % 10, 0, 0, True)
    scales = []
    scale_loss = OptimWrapper.scale_loss

    def noted(self, loss):
        scaled = scale_loss(self, loss)
        if self._accumulative_counts > 1:
            scales.append(round((loss / scaled).item()))
        return scaled

    monkeypatch.setattr(OptimWrapper, 'scale_loss', noted)
    found = []
    for resumed in (None, 'run/iter_4.pth'):
        cfg = tiny_config(
            **KEEP,
            **{
                'train_dataloader.dataset.data_root': str(folder.path),
                'train_cfg': dict(
                    by_epoch=False, max_iters=6, val_interval=9, _delete_=True
                ),
                'log_processor.by_epoch': False,
                'param_scheduler': dict(
                    architecture=[], aux_head=[], _delete_=True
                ),
                'optim_wrapper.architecture.accumulative_counts': 4,
                'default_hooks.checkpoint.by_epoch': False,
                'default_hooks.checkpoint.interval': 4,
                'custom_hooks': [dict(type='mmrazor.StepSeedHook')],
            },
        )
        del cfg.default_hooks['synthesis'], cfg.default_hooks['report']
        runner = Runner.from_cfg(cfg)
        if resumed:
            runner._load_from, runner._resume = str(tmp_path / resumed), True
        runner.train()
        assert all(param.grad is None for param in runner.model.parameters())
        found.append(runner.model.state_dict())
    assert scales == [4, 4, 4, 4, 2, 2] + [2, 2]
    assert equal(*found)


def test_validation_that_was_due_by_dynamic_intervals(
    tiny_runner, monkeypatch
):
    """The interval of the epoch that is resumed, not that of the first."""
    options = {
        **KEEP,
        'train_cfg.max_epochs': 4,
        'train_cfg.val_interval': 9,
        'train_cfg.dynamic_intervals': [(3, 1)],
    }
    validated = []
    monkeypatch.setattr(
        ValLoop, 'run', lambda self: validated.append(self.runner.epoch)
    )
    whole = tiny_runner(**options)
    whole.train()
    assert validated == [2, 3, 4]
    del validated[:]
    again = tiny_runner(**options)
    again._load_from = f'{whole.work_dir}/epoch_3.pth'
    again._resume = True
    again.train()
    assert validated == [3, 4]  # it may have been killed in that of 3


@pytest.mark.parametrize('kind', ['mmrazor.DurableCheckpointHook', None])
def test_another_run_has_a_best_of_its_own(tiny_runner, monkeypatch, kind):
    """In the work dir of an earlier one, whose bank was deleted."""
    runners, best = [], [30, 20, 10]
    monkeypatch.setattr(
        Evaluator, 'evaluate', lambda *_: {'accuracy/top1': best[0]}
    )
    options = {
        'default_hooks.checkpoint.type': kind or 'mmengine.CheckpointHook',
        'default_hooks.checkpoint.save_best': 'auto',
    }
    for epochs in (2, 1):
        runner = tiny_runner(**options, **{'train_cfg.max_epochs': epochs})
        runner.train()
        runners.append(runner)
        work = Path(runner.work_dir)
        shutil.rmtree(work / 'bank')
        best.pop(0)
    assert runners[0].work_dir == runners[1].work_dir
    (path,) = work.glob('best_*.pth')
    assert path.name.endswith('_epoch_1.pth')
    state = torch.load(path, weights_only=False)['state_dict']
    for key, value in runners[1].model.state_dict().items():
        assert torch.equal(state[key], value)


def test_an_earlier_epoch_has_a_best_of_its_own(tiny_runner, monkeypatch):
    """That of later ones, which are made again, is set apart."""
    runners, accuracies = [], [10, 30, 20]
    monkeypatch.setattr(
        Evaluator,
        'evaluate',
        lambda *_: {'accuracy/top1': accuracies[runners[-1].epoch - 1]},
    )
    options = {**KEEP, 'train_cfg.max_epochs': 3}
    runners.append(tiny_runner(**options))
    runners[-1].train()
    work = Path(runners[-1].work_dir)
    (best,) = work.glob('best_*.pth')
    assert best.name == 'best_accuracy_top1_epoch_2.pth'
    before = best.read_bytes()
    accuracies[1:] = 5, 9
    runners.append(tiny_runner(**options))
    runners[-1]._load_from, runners[-1]._resume = f'{work}/epoch_1.pth', True
    runners[-1].train()
    (best,) = work.glob('best_*.pth')
    assert best.name == 'best_accuracy_top1_epoch_1.pth'
    (old,) = work.glob('replaced_best_*.pth')
    assert old.name.endswith('epoch_2.pth') and old.read_bytes() == before
    # A second one of that name does not take its place.
    second = work / best.name.replace('_1.', '_2.')
    second.write_text('second')
    set_apart_best(work, 1)
    assert old.read_bytes() == before
    (other,) = work.glob('replaced_2_best_*.pth')
    assert other.read_text() == 'second' and other.name.endswith(second.name)


@pytest.mark.parametrize('is_earlier', [True, False])
def test_killed_after_an_earlier_epoch_was_resumed(
    tiny_runner, monkeypatch, is_earlier
):
    """Images of later ones are gone by then."""
    options = {**KEEP, 'train_cfg.max_epochs': 3}
    whole = tiny_runner(**options)
    whole.train()
    state = {k: v.clone() for k, v in whole.model.state_dict().items()}

    def kill(self, *args):
        raise KeyboardInterrupt

    runner = tiny_runner(**options)
    name = 'epoch_1.pth' if is_earlier else 'epoch_3.pth'
    runner._load_from, runner._resume = f'{runner.work_dir}/{name}', True
    with monkeypatch.context() as patch:
        patch.setattr(DurableCheckpointHook, 'before_train', kill)
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    pointer = Path(runner.work_dir, 'last_checkpoint').read_text()
    assert pointer.endswith(name)
    again = tiny_runner(resume=True, **options)
    again.train()
    for key, value in again.model.state_dict().items():
        assert torch.equal(value, state[key])


def test_a_checkpoint_without_schedule(tiny_runner):
    """Its rates are those of the epochs that are done."""
    options = {**KEEP, 'default_hooks.checkpoint.save_param_scheduler': False}
    first = tiny_runner(**options)
    first.train()
    resumed = tiny_runner(resume=True, **options)
    resumed.train()
    done, found = (
        runner.param_schedulers['architecture'][0].state_dict()
        for runner in (first, resumed)
    )
    assert done == found and done['_global_step'] == 2
    assert resumed.optim_wrapper.get_lr() == first.optim_wrapper.get_lr()


@pytest.mark.parametrize(
    'place, value, message',
    [
        ('meta.epoch', -3, r'meta\.epoch .* should be an integer, 0 .* is -3'),
        ('meta.epoch', '1', r"meta\.epoch .* is '1'"),
        ('meta.iter', None, r'meta\.iter .* is None'),
        ('meta.iter', 1.0, r'meta\.iter .* is 1\.0'),
        ('meta.teachers', 5, r'meta\.teachers .* a dict, but is 5'),
        ('state_dict', [1], 'state_dict .* should be a dict, but is a list'),
        ('state_dict.a', 1, r"state_dict\['a'\] .* a tensor, but is 1"),
        ('ema_state_dict', 1, 'ema_state_dict .* should be a dict, but is 1'),
        ('message_hub', [1], 'message_hub .* should be a dict'),
        ('message_hub.runtime_info', 5, r'runtime_info .* a dict, but is 5'),
        ('optimizer', 5, 'optimizer .* should be a dict, but is 5'),
        ('optimizer.architecture.state', [], 'state .* a dict, but is a list'),
        ('hooks', 'a', "hooks .* should be a dict, but is 'a'"),
    ],
)
def test_what_no_run_writes(place, value, message):
    group = dict(state={}, param_groups=[])
    checkpoint = dict(
        meta=dict(epoch=1, iter=3),
        message_hub=dict(runtime_info={}),
        optimizer=dict(architecture=group),
        state_dict={},
    )
    *above, key = place.split('.')
    part = checkpoint
    for name in above:
        part = part[name]
    part[key] = value
    runner = SimpleNamespace(_resume=True)
    with pytest.raises(CheckpointError, match=message):
        DurableCheckpointHook().after_load_checkpoint(runner, checkpoint)

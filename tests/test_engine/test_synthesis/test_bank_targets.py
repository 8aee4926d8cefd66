# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the teacher says of the images of a bank, in place of its passes."""

from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT, Stop, build, dump, network
from mmengine.config import Config

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.engine import SynthesisHook
from csd_mmrazor.engine.hooks.loop_checks import check_targets
from csd_mmrazor.engine.synthesis import bank_targets
from csd_mmrazor.models import ImageSynthesizer

SYNTHESIS = 'default_hooks.synthesis'
# A generator that lasts, asked for no classes, of whose images none is lost.
KEPT = {
    'model.aux_head': None,
    'model.distiller.student_recorders.feature': None,
    'model.data_preprocessor.augment': None,
    f'{SYNTHESIS}.synthesizer.meta': dict(type='LastingGenerator'),
    f'{SYNTHESIS}.synthesizer.optimizer_lasts': True,
    f'{SYNTHESIS}.synthesizer.latents': 'fresh',
    f'{SYNTHESIS}.synthesizer.labels': 'none',
    f'{SYNTHESIS}.synthesizer.keep': 'all',
    f'{SYNTHESIS}.synthesizer.keep_targets': True,
    f'{SYNTHESIS}.synthesizer.batch_size': 8,
    f'{SYNTHESIS}.init_iters': 3,
    f'{SYNTHESIS}.synthesizer.augment': dict(type='RandomCropFlip', padding=1),
    f'{SYNTHESIS}.synthesizer.losses': dict(
        _delete_=True, loss_bn=dict(type='BNStatisticsLoss')
    ),
}
# Two views of the best images of rounds as they are by default.
VIEWS = {
    'model.distiller.student_recorders.feature': None,
    'model.data_preprocessor.augment': dict(type='RandomCropFlip', padding=1),
    f'{SYNTHESIS}.target_views': 2,
}
# With the teacher's last feature map, which the student is trained on.
FEATURE = 'model.distiller.student_recorders.feature'
MAPS = {f'{SYNTHESIS}.target_maps': True}
KEPT_MAPS = {k: v for k, v in {**KEPT, **MAPS}.items() if k != FEATURE}
VIEWS_MAPS = {k: v for k, v in {**VIEWS, **MAPS}.items() if k != FEATURE}
BY_NAME = dict(
    kept=KEPT, views=VIEWS, kept_maps=KEPT_MAPS, views_maps=VIEWS_MAPS
)


@contextmanager
def stopping(owner, name, number):
    """Stop at the start of the call of a number."""
    calls, method = [], getattr(owner, name)

    def stopped(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            raise Stop
        return method(*args, **kwargs)

    setattr(owner, name, stopped)
    try:
        with pytest.raises(Stop):
            yield
    finally:
        setattr(owner, name, method)


def folder_of(runner):
    return BankFolder(Path(runner.work_dir, 'bank'))


def log_of(runner):
    return '\n'.join(
        path.read_text() for path in Path(runner.work_dir).rglob('*.log')
    )


def assert_same(a, b):
    assert folder_of(a).digest() == folder_of(b).digest()
    a, b = a.model.state_dict(), b.model.state_dict()
    assert a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)


def assert_of_teacher(runner):
    """All targets are what the teacher says of the views, to float16."""
    model = runner.model
    teacher, preprocessor = model.teachers['teacher'], model.data_preprocessor
    folder = folder_of(runner)
    assert folder.shards and not folder.without_targets
    for shard in folder.shards:
        images = torch.from_numpy(folder.read(shard)[0].copy())
        found = folder.read_targets(shard)
        answers = {k: v for k, v in found.items() if k != 'draws'}
        views = [(answers, images)]
        if 'draws' in found:
            views = []
            padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
            for view in range(found['draws'].shape[1]):
                draws = found['draws'][:, view].tolist()
                made = [
                    image[:, top : top + 8, left : left + 8].flip([2] * flip)
                    for image, (top, left, flip) in zip(padded, draws)
                ]
                answer = {k: v[:, view] for k, v in answers.items()}
                views.append((answer, torch.stack(made)))
        for answer, seen in views:
            inputs = (seen.float() - preprocessor.mean) / preprocessor.std
            with torch.no_grad():
                (feature,) = teacher.backbone(inputs)
                logits = teacher(inputs, mode='tensor')
            expected = dict(targets=logits, maps=feature.flatten(1))
            for name, value in answer.items():
                torch.testing.assert_close(
                    torch.from_numpy(value.copy()).float(),
                    expected[name],
                    rtol=2**-10,
                    atol=1e-3,
                )


@pytest.mark.parametrize('options', BY_NAME.values(), ids=BY_NAME)
def test_no_pass_of_the_teacher_in_student_steps(tiny_runner, options):
    runner = tiny_runner(**options)
    passes, steps = [], []
    runner.model.teachers['teacher'].register_forward_hook(
        lambda *_: passes.append(1)
    )
    train_step = runner.model.train_step

    def counted(*args, **kwargs):
        before = len(passes)
        log_vars = train_step(*args, **kwargs)
        steps.append(len(passes) - before)
        return log_vars

    runner.model.train_step = counted
    runner.train()
    assert steps == [0] * 6
    assert passes
    assert_of_teacher(runner)
    kind = folder_of(runner).target_kind
    if f'{SYNTHESIS}.target_maps' in options:
        assert kind.maps == 'teacher.backbone 16x4x4'
        assert kind.map_size == 16 * 4 * 4
    else:
        assert (kind.maps, kind.map_size) == ('', 0)
    is_kept = f'{SYNTHESIS}.synthesizer.keep_targets' in options
    counts = [shard.count for shard in folder_of(runner).shards]
    assert counts == ([24, 24, 16, 16] if is_kept else [16] * 4)
    if is_kept:
        # With labels, though no classes were asked for.
        folder = folder_of(runner)
        for shard in folder.shards:
            targets = folder.read_targets(shard)['targets']
            assert np.array_equal(folder.read(shard)[1], targets.argmax(1))


@pytest.mark.parametrize(
    'options', [KEPT, VIEWS, KEPT_MAPS], ids=['kept', 'views', 'kept_maps']
)
def test_resumes_where_it_was(tiny_runner, options):
    whole = tiny_runner('whole', **options)
    whole.train()
    with stopping(ImageSynthesizer, 'synthesize', 2):
        tiny_runner('cut', **options).train()
    with stopping(BankFolder, 'write_manifest', 2):
        tiny_runner('cut', resume=True, **options).train()
    resumed = tiny_runner('cut', resume=True, **options)
    resumed.train()
    assert_same(whole, resumed)


def test_another_teacher(tiny_runner, teacher_file, tmp_path):
    """Its targets are computed in place of the first one's, if need be twice.

    A run that is killed meanwhile goes on with what is lacking.
    """
    options = {**VIEWS, 'train_cfg.max_epochs': 1}
    tiny_runner(**options).train()
    saved = torch.load(teacher_file)
    for name, value in saved['state_dict'].items():
        if name == 'head.fc.bias':
            value += 1 + torch.arange(10)
    other = str(tmp_path / 'other.pth')
    torch.save(saved, other)
    options['model.teachers.teacher.ckpt_path'] = other
    options['train_cfg.max_epochs'] = 2
    with stopping(bank_targets, '_of_shard', 3):
        tiny_runner(resume=True, **options).train()
    cut = BankFolder(tmp_path / 'run/bank')
    assert len(cut.targets) == 2 and len(cut.shards) == 3
    runner = tiny_runner(resume=True, **options)
    runner.train()
    assert_of_teacher(runner)
    log = log_of(runner)
    assert 'were of another teacher: they are computed again' in log
    assert 'The targets of 48 images are computed' in log
    assert 'The targets of 16 images are computed' in log
    # Without them it goes on as well.
    options[f'{SYNTHESIS}.target_views'] = 0
    options['train_cfg.max_epochs'] = 3
    runner = tiny_runner(resume=True, **options)
    runner.train()
    assert folder_of(runner).target_kind is None
    assert not list(folder_of(runner).path.glob('*.targets.npy'))
    assert 'are dropped, since this run keeps none' in log_of(runner)


def test_imported_images(tiny_runner, monkeypatch):
    """Their targets come along, or are computed where they are others."""
    first = tiny_runner('first', **{**KEPT, 'train_cfg.max_epochs': 1})
    first.train()
    options = {
        'train_dataloader.dataset.init_bank': str(folder_of(first).path),
        f'{SYNTHESIS}.rounds': 0,
        'train_cfg.max_epochs': 1,
    }
    second = tiny_runner('second', **VIEWS, **options)
    second.train()
    assert_of_teacher(second)
    assert len(folder_of(second)) == len(folder_of(first))

    def never(*args):
        raise AssertionError('computed')

    monkeypatch.setattr(bank_targets, '_of_shard', never)
    third = tiny_runner('third', **KEPT, **options)
    third.train()
    assert_of_teacher(third)


def test_two_processes(forked, tiny_config, tmp_path):
    """One of which has nothing to make in the last group of rounds."""
    cfg = tiny_config(
        **{**KEPT, f'{SYNTHESIS}.init_rounds': 3, 'train_cfg.max_epochs': 1}
    )
    dump(cfg, tmp_path / 'config.py')
    done = forked('config.py', '--work-dir', 'run', processes=2)
    assert done.status == [0, 0], done.output
    folder = BankFolder(tmp_path / 'run/bank')
    assert [shard.count for shard in folder.shards] == [24] * 3 + [16] * 2
    for shard in folder.shards:
        assert folder.read_targets(shard)['targets'].any()


def test_targets_that_do_not_suffice(tiny_runner):
    """Found before any image is made."""
    runner = tiny_runner(**{f'{SYNTHESIS}.target_views': 2})
    with pytest.raises(ValueError, match='loss_feature .*"feature"') as error:
        runner.train()
    assert 'teacher.backbone' in str(error.value)
    assert not Path(runner.work_dir, 'bank').exists()


def test_kept_maps_train_as_a_pass_does(tiny_runner):
    """Losses and gradients, but for the rounding of float16."""
    runner = tiny_runner(**VIEWS_MAPS)
    model = runner.model.train()
    inputs, labels = torch.randn(8, 1, 8, 8), torch.arange(8)
    with torch.no_grad():
        (feature,) = model.teachers['teacher'].backbone(inputs)
        targets = model.teachers['teacher'](inputs, mode='tensor')
    maps = feature.flatten(1).half()
    found = []
    for given in ({}, dict(targets=targets.half(), maps=maps)):
        losses = model(inputs, labels=labels, mode='loss', **given)
        model.zero_grad()
        sum(losses.values()).backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        found.append([*losses.values(), *map(torch.clone, grads)])
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=0.02, atol=5e-4)
    assert losses['distill.loss_feature'] > 0


def test_other_maps_are_computed_again(tiny_runner):
    options = {**VIEWS_MAPS, 'train_cfg.max_epochs': 1}
    tiny_runner(**options).train()
    options['train_cfg.max_epochs'] = 2
    options['model.distiller.teacher_recorders.feature.source'] = (
        'teacher.backbone.layer2'
    )
    runner = tiny_runner(resume=True, **options)
    runner.train()
    kind = folder_of(runner).target_kind
    assert kind.maps.startswith('teacher.backbone.layer2 ')
    assert 'were of another maps: they are computed again' in log_of(runner)


@pytest.fixture(scope='module')
def algorithm(teacher_file):
    cfg = Config.fromfile(ROOT / 'configs/csd/csd_quickstart_digits.py').model
    cfg.architecture = network()
    cfg.teachers.teacher.build_cfg = network(base_channels=8)
    cfg.teachers.teacher.ckpt_path = str(teacher_file)
    cfg.distiller.student_recorders.feature = None
    return build(cfg)


def test_maps_that_nobody_looks_at(algorithm):
    algorithm.data_preprocessor.augment = None
    synthesizer = SimpleNamespace(keep_targets=True, with_compile=False)
    with pytest.raises(ValueError, match='target_maps=True .* keep nothing'):
        check_targets(algorithm, synthesizer, 0, True)
    synthesizer.with_compile = True
    with pytest.raises(ValueError, match='target_maps=True .* compile=False'):
        check_targets(algorithm, synthesizer, 0, True)


@pytest.mark.parametrize(
    'augment, keep_targets, views, message',
    [
        (None, True, 0, None),
        (None, False, 0, None),
        ('RandomRoll', False, 0, None),
        ('RandomCropFlip', False, 3, None),
        ('RandomCropFlip', True, 0, 'keep_targets=True .* set it to None'),
        ('RandomRoll', True, 0, 'keep_targets=True .*=RandomRoll .* to None'),
        (None, False, 2, 'target_views=2 .* augment=None'),
        ('RandomRoll', False, 2, 'target_views=2 .* augment=RandomRoll'),
        ('padding', False, 2, 'up to 127, but got 128'),
    ],
)
def test_augmentation_and_targets(
    algorithm, augment, keep_targets, views, message
):
    cfg = dict(type='RandomCropFlip', padding=128)
    if augment != 'padding':
        cfg = dict(type=augment)
    algorithm.data_preprocessor.augment = augment and build(cfg)
    synthesizer = SimpleNamespace(keep_targets=keep_targets)
    if message is None:
        check_targets(algorithm, synthesizer, views, False)
        return
    with pytest.raises(ValueError, match=message):
        check_targets(algorithm, synthesizer, views, False)


def test_algorithms_that_run_their_teacher():
    synthesizer = SimpleNamespace(keep_targets=True)
    with pytest.raises(ValueError, match='CSDDistillation, .* is Linear'):
        check_targets(torch.nn.Linear(1, 1), synthesizer, 0, False)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(target_views=-1), 'target_views of SynthesisHook .* 0 or more'),
        (dict(target_views=1001), 'at most 1000, but got 1001'),
        (dict(target_views=0.5), 'target_views of SynthesisHook .* integer'),
        (
            dict(target_views=1, keep='all', keep_targets=True),
            'target_views=1 .* keep_targets=True .* leave out one',
        ),
        (dict(target_maps=True), 'target_maps=True .* are not kept: set'),
        (dict(target_maps=1), 'target_maps of SynthesisHook .* got 1'),
    ],
)
def test_arguments_that_make_no_sense(scope, options, message):
    of_hook = {k: options.pop(k) for k in [*options] if 'target_' in k}
    synthesizer = dict(
        type='ImageSynthesizer',
        generator=dict(type='CSDGenerator', img_size=8),
        losses=dict(loss_oh=dict(type='OneHotLoss')),
        **options,
    )
    with pytest.raises(ValueError, match=message):
        SynthesisHook(synthesizer, **of_hook)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import logging
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers import Stop, build, equal, network
from mmengine.runner import Runner
from PIL import Image

from csd_mmrazor.datasets import BankError, BankFolder
from csd_mmrazor.datasets.bank_folder import INITIAL
from csd_mmrazor.engine import SynthesisHook
from csd_mmrazor.models import ImageSynthesizer, NonFiniteSynthesisError
from csd_mmrazor.models.synthesizers import image_grid

SYNTHESIS = 'default_hooks.synthesis'


def weights(runner):
    return {k: v.clone() for k, v in runner.model.state_dict().items()}


@pytest.fixture
def spy(monkeypatch):
    """Notes the rounds that are made; can stop the run in one."""
    rounds = []
    synthesize = ImageSynthesizer.synthesize

    def noted(self, networks, num_classes, **kwargs):
        rounds.append((kwargs['with_student'], kwargs['iters']))
        if spy.stop_in == len(rounds):
            raise Stop
        return synthesize(self, networks, num_classes, **kwargs)

    monkeypatch.setattr(ImageSynthesizer, 'synthesize', noted)
    spy = type('Spy', (), dict(rounds=rounds, stop_in=None))
    return spy


def test_a_run_has_one_bank(tiny_config):
    cfg = tiny_config()
    second = dict(cfg.default_hooks.synthesis, bank_dir='bank2')
    cfg.custom_hooks = [second]
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match='one SynthesisHook, but got 2'):
        runner.train()
    assert not [*Path(runner.work_dir).glob('bank*')]


def test_rounds_of_a_run(tiny_runner, spy):
    runner = tiny_runner(**{f'{SYNTHESIS}.init_iters': 3})
    runner.train()
    assert spy.rounds == [(False, 3)] * 2 + [(True, 2)] * 2
    folder = BankFolder(Path(runner.work_dir, 'bank'))
    assert [(s.epoch, s.index, s.count) for s in folder.shards] == [
        (INITIAL, 0, 16),
        (INITIAL, 1, 16),
        (0, 0, 16),
        (1, 0, 16),
    ]
    assert runner.iter == 6  # 2 epochs of 48 / 16 steps
    student = runner.model.student
    assert all(p.grad is None for p in runner.model.teachers.parameters())
    assert all(torch.isfinite(p).all() for p in student.parameters())


def test_what_it_logs_and_draws(tiny_runner, caplog):
    runner = tiny_runner(**{f'{SYNTHESIS}.progress_interval': 0})
    runner.train()
    folder = Path(runner.log_dir, 'vis_data')
    lines = [
        json.loads(line)
        for line in (folder / 'scalars.json').read_text().splitlines()
    ]
    of_rounds = [line for line in lines if 'synthesis/loss_csd' in line]
    assert [line['step'] for line in of_rounds] == [0, 1]
    for line in of_rounds:
        assert line['synthesis/loss_csd'] < 0 < line['synthesis/loss_bn']
        assert 0 <= line['synthesis/student_top1'] <= 100
        assert 0 <= line['synthesis/teacher_top1'] <= 100
        assert line['synthesis/aux_loss'] > 0
        assert 0 <= line['synthesis/aux_top1'] <= 100
        assert 0 <= line['synthesis/bank_balance'] <= 1
        assert 0 < line['synthesis/bank_diversity'] <= 2
        # Of one round of 16 images.
        assert line['synthesis/unrecognised'] == pytest.approx(
            16 * (1 - line['synthesis/teacher_top1'] / 100)
        )
    assert [line['synthesis/images'] for line in of_rounds] == [48, 64]
    initial = [line for line in lines if 'initial/loss_oh' in line]
    assert len(initial) == 1 and 'initial/loss_csd' not in initial[0]
    images = {path.name for path in (folder / 'vis_image').iterdir()}
    assert images == {'initial_0.png', 'synthesis_0.png', 'synthesis_1.png'}
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert 'Synthesis, initial bank: round 2/2, step 1/2, eta: 0:00:' in log
    assert 'Synthesis, epoch 2: round 1/1, step 2/2, eta: 0:00:00' in log


def test_logs_how_the_head_does_on_real_images(tiny_runner, monkeypatch):
    """All views of all images, in batches of which the last is smaller."""
    runner = tiny_runner(
        **{'train_cfg.max_epochs': 1, 'val_dataloader.batch_size': 100}
    )
    runner.train()
    student, head = runner.model.student, runner.model.aux_head
    student.eval()
    right = []
    for data in runner.val_dataloader:
        data = runner.model.data_preprocessor(data, False)
        for image, sample in zip(data['inputs'], data['data_samples']):
            for turns in range(4):
                view = torch.rot90(image, turns, (1, 2))[None]
                (feature,) = student.extract_feat(view, stage='pre_logits')
                guess = head(feature[None] if feature.ndim == 1 else feature)
                right.append(
                    guess.argmax().item() == 4 * sample.gt_label + turns
                )
    assert len(right) == 360 * 4
    path = Path(runner.log_dir, 'vis_data', 'scalars.json')
    lines = map(json.loads, path.read_text().splitlines())
    (line,) = [line for line in lines if 'aux/top1' in line]
    assert line['aux/top1'] == pytest.approx(100 * sum(right) / len(right))
    assert line['step'] == 1 and 'accuracy/top1' in line


def test_a_report_takes_no_more_at_once_than_synthesis(
    tiny_runner, monkeypatch
):
    """It comes after hours, and no rehearsal has as many images."""
    runner = tiny_runner(
        **{
            f'{SYNTHESIS}.synthesizer.keep': 'all',
            f'{SYNTHESIS}.synthesizer.batch_size': 10,
        }
    )
    synthesize, sizes = ImageSynthesizer.synthesize, []

    def then_note(self, *args, with_student, **kwargs):
        if with_student:
            raise Stop  # initial rounds and their report are done
        sizes.clear()
        return synthesize(self, *args, with_student=with_student, **kwargs)

    monkeypatch.setattr(ImageSynthesizer, 'synthesize', then_note)
    runner.model.student.backbone.register_forward_pre_hook(
        lambda _, args: sizes.append(len(args[0]))
    )
    with pytest.raises(Stop):
        runner.train()
    assert sum(sizes) == 5 * 20 and max(sizes) == 10


def test_validates_without_having_trained(tiny_runner):
    # MMEngine's checkpoint hook has no best one to compare with.
    runner = tiny_runner(**{'default_hooks.checkpoint': None})
    assert 'accuracy/top1' in runner.val()


def test_the_grid_shows_the_images():
    images = torch.arange(4).view(4, 1, 1, 1).expand(4, 1, 8, 8) * 60
    grid = image_grid(images.to(torch.uint8))
    # 4 tiles of 32 pixels in a row, with lines of 2 pixels.
    assert grid.shape == (36, 4 * 34 + 2, 3)
    assert [grid[10, 10 + 34 * i, 0] for i in range(4)] == [0, 60, 120, 180]
    many = image_grid(torch.zeros(250, 3, 32, 32, dtype=torch.uint8), 100)
    assert many.shape == (342, 342, 3)
    five_channels = torch.zeros(2, 5, 8, 8, dtype=torch.uint8)
    assert image_grid(five_channels).ndim == 3
    assert cv2.imencode('.png', grid)[0]


@pytest.mark.parametrize('keep', ['best', 'all'])
def test_what_is_held_out_is_never_trained_on(tiny_runner, monkeypatch, keep):
    runner = tiny_runner(
        rehearsal=True,
        **{
            'train_dataloader.dataset.held_out': 0.25,
            'default_hooks.synthesis.synthesizer.keep': keep,
        },
    )
    model, seen = type(runner.model), set()
    step = model.train_step

    def train_step(self, data, *args, **kwargs):
        if self is runner.model:
            seen.update(each.numpy().tobytes() for each in data['inputs'])
        return step(self, data, *args, **kwargs)

    monkeypatch.setattr(model, 'train_step', train_step)
    runner.train()
    bank = runner.train_dataloader.dataset
    held, drawn = (
        {
            each.numpy().tobytes()
            for each in bank.__getitems__(bank.places(is_held))['inputs']
        }
        for is_held in (True, False)
    )
    # Four rounds of 16 images, each at one step or at two.
    assert len(held) == 16 * (1 + (keep == 'all'))
    assert seen and seen <= drawn and not seen & held
    mask = BankFolder(bank.opened.path).held_out.mask(32, 'a' * 64)
    assert (mask[:16] == mask[16:]).all() == (keep == 'all')


def test_the_head_is_re_initialised(tiny_runner, monkeypatch):
    def heads(reset):
        seen = []
        start = SynthesisHook.before_train_epoch

        def noted(self, runner):
            head = runner.model.aux_head
            before = head.layers[0].weight.detach().clone()
            start(self, runner)
            seen.append(torch.equal(before, head.layers[0].weight))

        with monkeypatch.context() as patch:
            patch.setattr(SynthesisHook, 'before_train_epoch', noted)
            tiny_runner(
                f'reset_{reset}', **{f'{SYNTHESIS}.reset_aux_head': reset}
            ).train()
        return seen

    assert heads(True) == [False, False]
    assert heads(False) == [True, True]


def test_the_same_seed_gives_the_same_run(tiny_runner):
    runners = []
    for name in 'ab':
        runners.append(tiny_runner(name))
        runners[-1].train()
    assert equal(*map(weights, runners))
    digests = {
        BankFolder(Path(runner.work_dir, 'bank')).digest()
        for runner in runners
    }
    assert len(digests) == 1
    other = tiny_runner('c', **{'randomness.seed': 1})
    other.train()
    assert not equal(weights(other), weights(runners[0]))


@pytest.mark.parametrize('stop_in', [1, 2, 3, 4])
def test_resumes_where_it_was(tiny_runner, spy, stop_in):
    whole = tiny_runner('whole')
    whole.train()
    made = len(spy.rounds)
    del spy.rounds[:]
    spy.stop_in = stop_in
    with pytest.raises(Stop):
        tiny_runner('cut').train()
    spy.stop_in = None
    resumed = tiny_runner('cut', resume=True)
    resumed.train()
    # The round that was stopped is made again, and no other.
    assert len(spy.rounds) == made + 1
    assert equal(weights(whole), weights(resumed))
    folders = [
        BankFolder(Path(runner.work_dir, 'bank'))
        for runner in (whole, resumed)
    ]
    assert folders[0].digest() == folders[1].digest()


def test_resumes_within_an_epoch(tiny_runner, monkeypatch, spy):
    whole = tiny_runner('whole')
    whole.train()
    del spy.rounds[:]
    from csd_mmrazor.models import CSDDistillation

    steps = []
    train_step = CSDDistillation.train_step

    def stopped(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 5:  # the second step of the second epoch
            raise Stop
        return train_step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CSDDistillation, 'train_step', stopped)
        with pytest.raises(Stop):
            tiny_runner('cut').train()
    assert len(spy.rounds) == 4
    resumed = tiny_runner('cut', resume=True)
    resumed.train()
    assert len(spy.rounds) == 4  # the bank has them all
    assert equal(weights(whole), weights(resumed))


def test_resuming_an_older_checkpoint_drops_later_images(tiny_runner):
    options = {'default_hooks.checkpoint.max_keep_ckpts': 5}
    whole = tiny_runner(**options)
    whole.train()
    cfg = whole.cfg
    runner = tiny_runner(**options)
    runner._load_from = f'{whole.work_dir}/epoch_1.pth'
    runner._resume = True
    runner.train()
    assert equal(weights(whole), weights(runner))
    assert len(BankFolder(Path(cfg.work_dir, 'bank')).shards) == 4


def test_a_used_work_dir_is_refused_without_resume(tiny_runner):
    tiny_runner().train()
    runner = tiny_runner()
    with pytest.raises(BankError, match='earlier run. .*--resume.*init_bank'):
        runner.train()
    assert len(BankFolder(Path(runner.work_dir, 'bank')).shards) == 4


def test_resuming_without_the_bank_is_refused(tiny_runner):
    runner = tiny_runner()
    runner.train()
    other = tiny_runner('other', **{'train_cfg.max_epochs': 3})
    other._load_from = f'{runner.work_dir}/epoch_2.pth'
    other._resume = True
    with pytest.raises(BankError, match='epoch 2, .* lacks .* of 2 epochs'):
        other.train()


def test_imported_images_replace_the_initial_bank(tiny_runner, spy):
    first = tiny_runner('first')
    first.train()
    del spy.rounds[:]
    bank = f'{first.work_dir}/bank'
    second = tiny_runner(
        'second', **{'train_dataloader.dataset.init_bank': bank}
    )
    second.train()
    assert spy.rounds == [(True, 2)] * 2
    assert len(second.train_dataloader.dataset) == 64 + 32
    log = next(Path(second.log_dir).glob('*.log')).read_text()
    counted = re.search(r'recognises (\d+) of 64 of them', log)
    wrong = 64 - int(counted[1])
    assert wrong > 6  # that teacher knows nothing
    assert f'takes {wrong} of 64 imported images for another class' in log


def test_no_student_is_judged_by_what_it_is_trained_on(
    tiny_runner, tmp_path, monkeypatch
):
    for place in range(20):
        path = tmp_path / f'photos/{place % 10}/{place}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), place, np.uint8)).save(path)
    shutil.copytree(tmp_path / 'photos', tmp_path / 'copies')
    module = 'csd_mmrazor.engine.hooks.synthesis_hook'
    monkeypatch.setattr(f'{module}.rehearse', None)
    runner = tiny_runner(
        rehearsal=True,
        **{
            'train_dataloader.dataset.init_bank': str(tmp_path / 'photos'),
            'val_dataloader.dataset': dict(
                type='mmrazor.FolderImages',
                data_root=str(tmp_path / 'copies'),
                image_shape=(1, 8, 8),
                num_classes=10,
                _delete_=True,
            ),
        },
    )
    message = 'About 100 % .* val_dataloader.dataset are in init_bank=.*photos'
    with pytest.raises(ValueError, match=message):
        runner.train()


@pytest.mark.parametrize(
    'shape, classes, message',
    [((1, 9, 8), 10, 'image_shape=.*1, 9, 8'), ((1, 8, 8), 9, 'classes=9')],
)
def test_images_to_start_with_are_looked_at_first(
    shape, classes, message, tiny_runner, tmp_path, monkeypatch
):
    """Before the rehearsal, which takes long for large networks."""
    BankFolder(tmp_path / 'other', shape, classes).append(
        np.zeros((2, *shape), np.uint8), np.zeros(2, int), 0, 0, True
    )
    module = 'csd_mmrazor.engine.hooks.synthesis_hook'
    monkeypatch.setattr(f'{module}.rehearse', None)
    runner = tiny_runner(
        rehearsal=True,
        **{'train_dataloader.dataset.init_bank': str(tmp_path / 'other')},
    )
    with pytest.raises(BankError, match=message):
        runner.train()


def test_all_initial_images_are_counted(tiny_runner):
    runner = tiny_runner(**{'train_cfg.max_epochs': 1})
    runner.train()
    shards = BankFolder(f'{runner.work_dir}/bank')
    teacher = runner.model.teachers.teacher
    wrong = 0
    for shard in shards.shards[:2]:
        images, labels = shards.read(shard)
        inputs = (torch.from_numpy(images.copy()).float() - 77.9) / 95.9
        with torch.no_grad():
            answers = teacher(inputs, mode='tensor').argmax(1)
        wrong += (answers.numpy() != labels).sum()
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert f'takes {wrong} of 32 initial images for another class' in log


def test_the_names_of_the_classes_are_kept(tiny_runner, tmp_path):
    names = [*'zyxwvutsrq']
    options = {
        'val_dataloader.dataset.metainfo': dict(classes=names),
        'train_cfg.max_epochs': 1,
    }
    runner = tiny_runner('first', **options)
    runner.train()
    assert BankFolder(tmp_path / 'first/bank').classes == names
    told = json.loads((tmp_path / 'first/student/student.json').read_text())
    assert told['classes'] == names
    # Its labels would be wrong where classes have another order.
    options = {
        'train_dataloader.dataset.init_bank': str(tmp_path / 'first/bank'),
        'train_dataloader.dataset.metainfo': dict(classes=sorted(names)),
    }
    with pytest.raises(BankError, match="Class 0 .* is 'z', but 'q' here"):
        tiny_runner('second', **options).train()


@pytest.mark.parametrize(
    'names, said',
    [
        ([*'abc'], 'have 3 classes, a, b, c, but the networks have 10'),
        (['0', '1', '10', *'2345678'], 'by numbers, but are in the order of'),
    ],
)
def test_classes_in_a_doubtful_order_are_told(tiny_runner, names, said):
    runner = tiny_runner(
        **{
            'val_dataloader.dataset.metainfo': dict(classes=names),
            f'{SYNTHESIS}.init_rounds': 0,
        }
    )
    runner.train_loop.run = lambda: runner.call_hook('before_train')
    runner.train()
    assert said in next(Path(runner.log_dir).glob('*.log')).read_text()


def test_trains_on_the_initial_bank_alone(tiny_runner, spy):
    runner = tiny_runner(**{f'{SYNTHESIS}.rounds': 0})
    runner.train()
    assert spy.rounds == [(False, 2)] * 2


@pytest.mark.parametrize('retries', [2, 1])
def test_a_round_is_tried_again(tiny_runner, monkeypatch, retries):
    """The second initial round diverges in its first two attempts."""
    synthesize, seeds = ImageSynthesizer.synthesize, []

    def noted(self, networks, num_classes, seed, **kwargs):
        seeds.append(seed)
        if len(seeds) in (2, 3):
            networks.each_teacher[0].head.fc.bias.fill_(float('nan'))
        try:
            return synthesize(self, networks, num_classes, seed=seed, **kwargs)
        finally:
            networks.each_teacher[0].head.fc.bias.fill_(0)

    whole = tiny_runner('whole')
    whole.train()
    with monkeypatch.context() as patch:
        patch.setattr(ImageSynthesizer, 'synthesize', noted)
        runner = tiny_runner(**{f'{SYNTHESIS}.max_retries': retries})
        if retries == 1:
            with pytest.raises(NonFiniteSynthesisError) as error:
                runner.train()
            assert 'round 2/2: loss_oh of the synth' in str(error.value)
            assert 'All 2 attempts failed (max_retries=1)' in str(error.value)
            assert 'keeps its 16 images' in str(error.value)
            return
        runner.train()
    # The last attempt's seed is neither of the others, nor another round's.
    assert len(set(seeds)) == len(seeds) == 6
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert log.count('It is tried again with another seed') == 2
    assert 'round 2/2: loss_oh of the synthesis became' in log
    shards, others = (
        BankFolder(Path(r.work_dir, 'bank')).shards for r in (runner, whole)
    )
    assert len(shards) == len(others) == 4
    assert shards[0] == others[0] and shards[1] != others[1]


def test_a_diverging_round_keeps_the_bank(tiny_runner, monkeypatch):
    from csd_mmrazor.models import CSDLoss

    forward = CSDLoss.forward
    calls = []

    def diverging(self, aux_logits, joint_labels):
        calls.append(1)
        scale = float('inf') if len(calls) > 2 else 1
        return forward(self, aux_logits, joint_labels) * scale

    monkeypatch.setattr(CSDLoss, 'forward', diverging)
    runner = tiny_runner()
    with pytest.raises(
        NonFiniteSynthesisError,
        match='epoch 2, round 1/1: loss_csd .* step 0 of 2.* keeps its 48',
    ):
        runner.train()
    assert len(BankFolder(Path(runner.work_dir, 'bank')).shards) == 3
    monkeypatch.undo()
    resumed = tiny_runner(resume=True)
    resumed.train()
    assert resumed.epoch == 2


@pytest.mark.parametrize(
    'change, error, message',
    [
        (
            {
                f'{SYNTHESIS}.synthesizer.generator.img_size': 12,
                'model.architecture': network(channels=1),
                f'{SYNTHESIS}.synthesizer.generator.channels': 3,
            },
            ValueError,
            'teacher 0 .* shape .3, 12, 12.',
        ),
        (
            {'model.aux_head': None},
            ValueError,
            'needs the auxiliary head, and the algorithm has none',
        ),
        (
            {
                'train_dataloader.num_workers': 1,
                'train_dataloader.persistent_workers': True,
            },
            ValueError,
            'num_workers=0 .* persistent_workers=True',
        ),
        (
            {
                'train_dataloader.num_workers': 1,
                'train_dataloader.dataset.storage': 'device',
            },
            ValueError,
            'num_workers=0 .* storage="device"',
        ),
        (
            {
                'train_dataloader.pin_memory': True,
                'train_dataloader.dataset.storage': 'device',
            },
            ValueError,
            'pin_memory=True .* storage="device"',
        ),
        (
            {
                f'{SYNTHESIS}.init_rounds': 0,
                f'{SYNTHESIS}.rounds': 0,
            },
            ValueError,
            'image bank is empty',
        ),
    ],
)
def test_what_does_not_fit_is_told_before_work(
    tiny_runner, spy, change, error, message
):
    runner = tiny_runner(**change)
    with pytest.raises(error, match=message):
        runner.train()
    assert not spy.rounds


def test_another_data_set_is_told(tiny_runner):
    digits = dict(type='mmrazor.Digits', split='train', _delete_=True)
    runner = tiny_runner(
        **{
            'train_dataloader.dataset': digits,
            'train_dataloader.collate_fn': dict(type='pseudo_collate'),
        }
    )
    with pytest.raises(TypeError, match='mmrazor.ImageBank.* got Digits'):
        runner.train()


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(rounds=-1), 'rounds .* 0 or more, but got -1'),
        (dict(init_rounds=0.5), 'init_rounds .* but got 0.5'),
        (dict(init_iters=0), 'init_iters .* positive integer, but got 0'),
        (dict(max_retries=-1), 'max_retries .* 0 or more, but got -1'),
        (dict(grid_images='many'), 'grid_images .* but got .many'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SynthesisHook(synthesizer=dict(), **kwargs)


def test_steps_are_counted_per_epoch(tiny_runner):
    runner = tiny_runner()
    assert len(runner.train_dataloader) == 3
    assert runner.max_iters == 6
    assert logging.getLogger() is not None


def test_feeds_an_algorithm_of_mmrazor(tiny_runner, teacher_file):
    """SingleTeacherDistill learns from the bank, unchanged."""
    model = dict(
        _delete_=True,
        _scope_='mmrazor',
        type='SingleTeacherDistill',
        data_preprocessor=dict(
            type='BankDataPreprocessor',
            mean=[77.9],
            std=[95.9],
            num_classes=10,
        ),
        architecture=network(),
        teacher=network(base_channels=8),
        teacher_ckpt=str(teacher_file),
        distiller=dict(
            type='ConfigurableDistiller',
            student_recorders=dict(
                fc=dict(type='ModuleOutputs', source='head.fc')
            ),
            teacher_recorders=dict(
                fc=dict(type='ModuleOutputs', source='head.fc')
            ),
            distill_losses=dict(loss_kl=dict(type='KLDivergence', tau=4)),
            loss_forward_mappings=dict(
                loss_kl=dict(
                    preds_S=dict(from_student=True, recorder='fc'),
                    preds_T=dict(from_student=False, recorder='fc'),
                )
            ),
        ),
    )
    sgd = dict(_delete_=True, optimizer=dict(type='SGD', lr=0.05))
    runner = tiny_runner(
        rehearsal=True,
        model=model,
        optim_wrapper=sgd,
        param_scheduler=None,
        **{
            'train_dataloader.collate_fn.data_samples': True,
            f'{SYNTHESIS}.synthesizer.losses.loss_csd.loss_weight': 0,
            f'{SYNTHESIS}.synthesizer.losses.loss_adv': dict(
                type='AdversarialLoss'
            ),
        },
    )
    before = build(network()).state_dict().keys()
    runner.train()
    assert len(runner.train_dataloader.dataset) == 64
    assert set(runner.model.student.state_dict()) == set(before)


@pytest.mark.parametrize(
    'preprocessor, own, message',
    [
        (dict(bgr_to_rgb=True), None, 'because of its bgr_to_rgb'),
        ({}, [40.0], r'teacher 0 .* normalises images by .*std=.40.0'),
    ],
)
def test_algorithms_that_see_other_colours(
    tiny_runner, tmp_path, preprocessor, own, message
):
    """The preprocessing of MMRazor's own FitNet config, fed from a bank."""
    teacher = network(channels=3)
    torch.save(build(teacher).state_dict(), tmp_path / 'teacher.pth')
    statistics = dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    )
    if own:
        teacher['data_preprocessor'] = dict(statistics, std=own)
    model = dict(
        _delete_=True,
        _scope_='mmrazor',
        type='SingleTeacherDistill',
        data_preprocessor=dict(
            type='ImgDataPreprocessor', **statistics, **preprocessor
        ),
        architecture=network(channels=3),
        teacher=teacher,
        teacher_ckpt=str(tmp_path / 'teacher.pth'),
        distiller=dict(type='ConfigurableDistiller'),
    )
    runner = tiny_runner(
        model=model,
        optim_wrapper=dict(_delete_=True, optimizer=dict(type='SGD', lr=0.05)),
        param_scheduler=None,
        **{
            'train_dataloader.collate_fn.data_samples': True,
            f'{SYNTHESIS}.synthesizer.losses.loss_csd.loss_weight': 0,
            f'{SYNTHESIS}.synthesizer.generator.channels': 3,
        },
    )
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert not Path(runner.work_dir, 'bank').exists()

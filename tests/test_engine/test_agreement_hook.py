# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students that are chosen without a real image."""

import logging
from pathlib import Path
from types import SimpleNamespace as Some

import numpy as np
import pytest
import torch
from helpers import Cached, build, network
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

from csd_mmrazor.datasets import BankFolder, ImageBank
from csd_mmrazor.engine import agreement_images, estimate
from csd_mmrazor.engine.hooks import (
    AgreementHook,
    loop_checks,
)
from csd_mmrazor.engine.hooks.agreement_hook import updates_of
from csd_mmrazor.engine.student_choice import choose, parse_rule
from csd_mmrazor.export import find_checkpoint
from csd_mmrazor.models.utils import evaluating, logits_of
from csd_mmrazor.report import run_files, write_report
from csd_mmrazor.utils import load_file
from csd_mmrazor.utils.agreement import BIASES
from csd_mmrazor.utils.scalars import read_scalars

HOOK = 'default_hooks.agreement'
SYNTHESIS = 'default_hooks.synthesis'
# One generator goes on from round to round, and so does its optimizer.
LASTING = {
    f'{SYNTHESIS}.synthesizer.meta': dict(type='LastingGenerator'),
    f'{SYNTHESIS}.synthesizer.optimizer_lasts': True,
    f'{SYNTHESIS}.synthesizer.latents': 'fresh',
}


@pytest.fixture
def unvalidated(tiny_config):
    """A Runner of three epochs that holds images out, without validation."""

    def config(work_dir='run', **options):
        cfg = tiny_config(
            work_dir,
            **{
                'train_cfg.max_epochs': 3,
                'train_dataloader.dataset.held_out': 0.25,
                f'{SYNTHESIS}.grid_images': 0,
                'default_hooks.report.images': 0,
                f'{HOOK}.rule': 'held_out.kl',
                **LASTING,
                **options,
            },
        )
        for split in ('val', 'test'):
            for part in ('dataloader', 'evaluator', 'cfg'):
                cfg.pop(f'{split}_{part}')
        return cfg

    def make(work_dir='run', resume=False, rehearsal=False, **options):
        cfg = config(work_dir, **options)
        cfg.resume = resume
        cfg.default_hooks.synthesis.rehearsal = rehearsal
        return Runner.from_cfg(cfg)

    make.config = config
    return make


def hook_of(runner):
    (hook,) = (h for h in runner.hooks if isinstance(h, AgreementHook))
    return hook


def log_of(runner):
    return Path(runner._log_dir, f'{runner.timestamp}.log').read_text()


class Course(Hook):
    """Makes students as good as a test wants, and notes their weights."""

    priority = 'LOWEST'

    def __init__(self, monkeypatch, runner, last, mean=None):
        self.weights, self.iters = {}, []
        mean = mean or [-v for v in last]

        def compare(networks, students, images, labels=None):
            kl = dict(last=last, mean=mean)
            # As if the teacher had been trained.
            sure = dict(recognised=80, confident=90, confident_images=19)
            sure['chance'] = 20
            return {
                who: dict(sure, top1=50, ece=0, kl=-kl[who][runner.epoch])
                for who in students
            }

        monkeypatch.setattr(
            'csd_mmrazor.engine.hooks.agreement_hook.compare', compare
        )

    def after_train_iter(self, runner, **_):
        self.iters.append(copied(runner.model.architecture))

    def after_train_epoch(self, runner):
        self.weights[runner.epoch + 1] = copied(runner.model.architecture)


def copied(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def assert_equal(found, expected, exactly=True):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if exactly:
            assert torch.equal(found[key], value), key
        else:
            torch.testing.assert_close(found[key], value)


def test_a_run_ends_with_the_best_student(unvalidated, monkeypatch):
    runner = unvalidated(rehearsal=True)
    course = Course(monkeypatch, runner, [1, 5, 4])
    runner.register_hook(course)
    monkeypatch.setattr(
        'csd_mmrazor.engine.agreement_images.bn_layers', lambda net: []
    )
    # It agrees far more where the teacher is sure.
    monkeypatch.setattr('csd_mmrazor.utils.agreement.APART', 50)
    runner.train()
    work = Path(runner.work_dir)
    path = work / 'best_agreement_epoch_2.pth'
    assert [*work.glob('best_*')] == [path] == [find_checkpoint(work)]
    saved = load_file(path)
    prefix = 'architecture.'
    student = {
        key[len(prefix) :]: value
        for key, value in saved['state_dict'].items()
        if key.startswith(prefix)
    }
    assert_equal(student, course.weights[2])
    assert (saved['meta']['epoch'], saved['meta']['student']) == (2, 'last')
    assert saved['meta']['iter'] == 6
    # What a caller gets, and what is exported; the last one is resumed.
    assert_equal(copied(runner.model.architecture), student)
    assert_equal(load_file(work / 'student/student.pth'), student)
    latest = load_file(work / 'epoch_3.pth')
    assert_equal(
        {
            key[len(prefix) :]: value
            for key, value in latest['state_dict'].items()
            if key.startswith(prefix)
        },
        course.weights[3],
    )
    # A student that was chosen by real images counts more.
    best = work / 'best_accuracy_top1_epoch_1.pth'
    path.rename(best)
    (work / 'best_agreement_epoch_9.pth').write_bytes(best.read_bytes())
    assert find_checkpoint(work) == best
    scalars = read_scalars(work)
    assert scalars['agreement/chosen_epoch'] == {1: 1, 2: 2, 3: 2}
    # How good it is, for who reads the log and who has the file.
    images = int(scalars['agreement/held_out_images'][2])
    bias = 'teacher_without_bn'
    expected = (50, 80, 90, 'held_out', images, 19, (bias,), 20)
    assert hook_of(runner).agreement == expected
    told = (
        f'gives the same class as its teacher on 50.0 % of {images} synthetic'
    )
    card = (work / 'student/README.md').read_text()
    for text in (log_of(runner), card):
        (line,) = (x for x in text.splitlines() if told in x)
        assert 'Estimated accuracy: ' in line and BIASES[bias] in line
    page = write_report([work]).read_text()
    assert 'student, chosen without real images' in page
    assert 'weights of epoch 2' in page


def test_what_layers_keep_is_of_the_chosen_student(unvalidated, monkeypatch):
    """Reports look at it in eval mode, which passes before have filled."""
    runner = unvalidated()
    runner.register_hook(Course(monkeypatch, runner, [1, 5, 4]))
    student = runner.model.architecture
    student.head.fc.__class__ = Cached
    inputs = torch.rand(2, *runner.cfg.model.image_shape)

    class Look(Hook):
        priority = 'LOWEST'

        def after_train_epoch(self, runner):
            self.last = evaluated(student, inputs)

    runner.register_hook(look := Look())
    runner.train()
    found = evaluated(student, inputs)
    assert not torch.equal(found, look.last)
    student.train()
    assert torch.equal(found, evaluated(student, inputs))


def evaluated(student, inputs):
    with evaluating(student), torch.no_grad():
        return logits_of(student(inputs, mode='tensor'))


def test_the_running_mean_may_be_the_best(unvalidated, monkeypatch):
    runner = unvalidated()
    course = Course(monkeypatch, runner, [1, 2, 3], [4, 6, 5])
    runner.register_hook(course)
    runner.train()
    # By hand, of all steps up to then: 3 of an epoch, 9 of the run.
    mean = course.iters[0]
    for step, weights in enumerate(course.iters[1:6], 1):
        rate = max(0.5, 1 / (1 + step))
        mean = {
            key: value + rate * (weights[key] - value)
            if value.is_floating_point()
            else weights[key]
            for key, value in mean.items()
        }
    found = copied(runner.model.architecture)
    assert_equal(found, mean, exactly=False)
    (path,) = Path(runner.work_dir).glob('best_*')
    assert path.name == 'best_agreement_epoch_2.pth'
    assert load_file(path)['meta']['student'] == 'mean'
    page = write_report([runner.work_dir]).read_text()
    assert 'running mean of epoch 2' in page


SETS = ['held_out', 'initial', 'views', 'mixed', 'seen', 'fresh']


def test_it_leaves_the_run_as_it_is(unvalidated):
    """Whether it measures all there is or nothing."""
    found = []
    for options in (
        {f'{HOOK}.sets': SETS},
        {HOOK: dict(type='mmrazor.DivergenceHook', _delete_=True)},
    ):
        runner = unvalidated(f'run{len(found)}', **options)
        runner.train()
        found.append(load_file(Path(runner.work_dir, 'epoch_3.pth')))
        bank = runner.train_dataloader.dataset.opened
        found.append((bank.shards, bank.digest(), bank.states))
        if len(found) == 2:
            history = hook_of(runner).history
    for key in ('state_dict', 'optimizer'):
        torch.testing.assert_close(
            found[0][key], found[2][key], rtol=0, atol=0
        )
    assert found[1] == found[3]
    assert [*history] == [1, 2, 3]
    for students in history.values():
        assert [*students] == ['last', 'mean']
        for sets in students.values():
            assert [*sets] == SETS
    # Fresh images are other ones than those of the bank.
    assert len({e['last']['fresh']['kl'] for e in history.values()}) == 3


class Stop(Exception):
    pass


class Stopper(Hook):
    """Ends a run in an epoch, as a kill would."""

    priority = 'LOWEST'

    def __init__(self, epoch):
        self.epoch = epoch

    def after_train_iter(self, runner, batch_idx, **_):
        if (runner.epoch, batch_idx) == (self.epoch, 1):
            raise Stop


@pytest.mark.parametrize('killed_in', [1, 2])
def test_a_stopped_run_chooses_the_same(unvalidated, killed_in):
    whole = unvalidated('whole')
    whole.train()
    runner = unvalidated()
    runner.register_hook(Stopper(killed_in))
    with pytest.raises(Stop):
        runner.train()
    # Left by an epoch whose checkpoint was not written.
    late = Path(runner.work_dir, f'best_agreement_epoch_{killed_in + 1}.pth')
    late.write_bytes(b'')
    again = unvalidated(resume=True)
    again.train()
    assert hook_of(again).history == hook_of(whole).history
    names, states = [], []
    for each in (again, whole):
        (path,) = Path(each.work_dir).glob('best_*')
        names.append(path.name)
        states.append(load_file(path)['state_dict'])
        states.append(load_file(Path(each.work_dir, 'epoch_3.pth'))['hooks'])
    assert names[0] == names[1]
    torch.testing.assert_close(states[:2], states[2:], rtol=0, atol=0)


def test_a_student_without_checkpoints_is_not_removed(unvalidated):
    runner = unvalidated(**{'train_cfg.max_epochs': 2})
    runner.train()
    (path,) = Path(runner.work_dir).glob('best_*')
    path = path.rename(path.with_name('best_agreement_epoch_2.pth'))
    for each in path.parent.glob('epoch_*'):
        each.unlink()
    (path.parent / 'last_checkpoint').unlink()
    with pytest.raises(FileExistsError, match=f'{path} is .* are gone'):
        unvalidated(resume=True).train()
    # That of a run that was killed before its first checkpoint.
    path.rename(path.with_name('best_agreement_epoch_1.pth'))
    unvalidated(resume=True).train()


def test_a_best_student_that_is_lost(unvalidated, monkeypatch):
    runner = unvalidated(**{'train_cfg.max_epochs': 2})
    Course(monkeypatch, runner, [5, 1])
    runner.train()
    Path(runner.work_dir, 'best_agreement_epoch_1.pth').unlink()
    again = unvalidated(resume=True)
    Course(monkeypatch, again, [0, 0, 1])
    again.train()
    assert 'is not in the work dir: the best of the epochs' in log_of(again)
    (path,) = Path(runner.work_dir).glob('best_*')
    assert path.name == 'best_agreement_epoch_3.pth'


def test_the_best_of_later_epochs_is_set_apart(unvalidated, monkeypatch):
    options = {'default_hooks.checkpoint.max_keep_ckpts': -1}
    runner = unvalidated(**options)
    Course(monkeypatch, runner, [1, 2, 3])
    runner.train()
    (path,) = Path(runner.work_dir).glob('best_*')
    assert path.name == 'best_agreement_epoch_3.pth'
    content = path.read_bytes()
    again = unvalidated(
        resume=True, load_from=f'{path.parent}/epoch_1.pth', **options
    )
    Course(monkeypatch, again, [0, 2, 1])
    again.train()
    (best,) = path.parent.glob('best_*')
    assert best.name == 'best_agreement_epoch_2.pth'
    (kept,) = path.parent.glob('replaced_best_*')
    assert kept.name == f'replaced_{path.name}'
    assert kept.read_bytes() == content


def test_a_student_of_the_last_epoch_is_never_lost(unvalidated):
    """The checkpoint has it: as it is, and the running mean."""
    runner = unvalidated(**{f'{HOOK}.rule': 'mean'})
    runner.train()
    (path,) = Path(runner.work_dir).glob('best_*')
    expected = load_file(path)
    assert expected['meta']['epoch'] == 3
    for left in ('nothing', 'cut short', 'by another rule'):
        path.unlink()
        if left == 'cut short':
            path.write_bytes(b'')
        elif left == 'by another rule':
            other = dict(expected['meta'], student='last')
            torch.save(dict(expected, meta=other, state_dict={}), path)
        again = unvalidated(resume=True, **{f'{HOOK}.rule': 'mean'})
        again.train()
        found = load_file(path)
        assert_equal(found['state_dict'], expected['state_dict'])
        for key in ('epoch', 'iter', 'student'):
            assert found['meta'][key] == expected['meta'][key]
        found = {
            f'architecture.{key}': value
            for key, value in copied(again.model.architecture).items()
        }
        assert_equal(
            found, {key: expected['state_dict'][key] for key in found}
        )


def test_runs_without_epochs_end_with_the_last_student(caplog):
    logger = logging.getLogger('iterations')
    runner = Some(val_loop=None, train_loop=Some(), logger=logger)
    runner.train_dataloader = Some(dataset=ImageBank())
    AgreementHook().before_train(runner)
    assert 'run by SimpleNamespace: it does nothing, and the' in caplog.text
    assert 'train_cfg=dict(by_epoch=True' in caplog.text


def test_it_ends_early(unvalidated, monkeypatch):
    options = {f'{HOOK}.patience': 2, 'train_cfg.max_epochs': 9}
    runner = unvalidated(**options)
    Course(monkeypatch, runner, [1, 5, 4, 3, 9])
    runner.train()
    assert runner.epoch == 4
    # A run that is over stays so.
    again = unvalidated(resume=True, **options)
    Course(monkeypatch, again, [0] * 9)
    again.train()
    assert again.epoch == 4
    (path,) = Path(runner.work_dir).glob('best_*')
    assert path.name == 'best_agreement_epoch_2.pth'


def test_two_processes_choose_together(unvalidated, forked, tmp_path):
    cfg = unvalidated.config(
        **{f'{HOOK}.patience': 1, 'train_cfg.max_epochs': 4}
    )
    for name in ('experiment_name', 'work_dir', 'launcher'):
        cfg.pop(name)
    cfg.dump(tmp_path / 'config.py')
    done = forked(
        *('config.py', '--work-dir', 'two', '--no-rehearsal'), processes=2
    )
    assert done.status == [0, 0], done.output[-3000:]
    (path,) = (tmp_path / 'two').glob('best_*')
    last = load_file(sorted((tmp_path / 'two').glob('epoch_*'))[-1])
    history = last['hooks']['AgreementHook']['history']
    assert [*history] == [*range(1, last['meta']['epoch'] + 1)]
    best = choose(history, parse_rule('held_out.kl'))
    assert path.name == f'best_agreement_epoch_{best.epoch}.pth'
    assert load_file(path)['meta']['student'] == best.candidate


@pytest.mark.parametrize('fewest', [8, 9])
def test_a_collapse_is_told(fewest, unvalidated, monkeypatch):
    """If there are images enough, which are 8 here."""
    monkeypatch.setattr(run_files, 'FEWEST_COMPARED', fewest)
    runner = unvalidated()
    # All that are held out, which become more, and the initial ones.
    values = iter([90.0, 90.0, 20.0, 91.0, 90.0, 20.0])
    compare = agreement_images.compare

    def drop(networks, students, images, labels=None):
        found = compare(networks, students, images, labels)
        value = next(values) if len(images) else 0
        return {k: dict(v, top1=value) for k, v in found.items()}

    monkeypatch.setattr(
        'csd_mmrazor.engine.hooks.agreement_hook.compare', drop
    )
    runner.train()
    told = [x for x in log_of(runner).splitlines() if 'training fell' in x]
    assert len(told) == (fewest == 8)
    assert all('from 91.0 % (epoch 2) to 20.0 % (epoch 3)' in x for x in told)


def test_with_validation_nothing_is_chosen(tiny_runner, monkeypatch):
    option = {
        'train_dataloader.dataset.held_out': 0.25,
        f'{HOOK}.always': True,
        f'{SYNTHESIS}.grid_images': 0,
    }
    runner = tiny_runner(**option)
    runner.train()
    work = Path(runner.work_dir)
    assert not [*work.glob('best_agreement*')]
    assert 'best_accuracy' in find_checkpoint(work).name
    scalars = read_scalars(work)
    assert [*scalars['agreement/held_out_top1']] == [1, 2]
    assert [*scalars['agreement_mean/initial_kl']] == [1, 2]
    assert 'agreement/chosen_epoch' not in scalars


@pytest.mark.parametrize('rule', ['last', 'held_out.kl'])
def test_without_held_out_images_the_last_one_is_left(unvalidated, rule):
    runner = unvalidated(
        **{
            'train_dataloader.dataset.held_out': 0,
            'train_cfg.max_epochs': 1,
            f'{HOOK}.rule': rule,
        }
    )
    runner.train()
    log = log_of(runner)
    assert 'no images are held out from training. Without' in log
    assert 'the run ends with the last one. Set train_data' in log
    assert not [*Path(runner.work_dir).glob('best_*')]
    # Nor where others lie.
    Path(runner.work_dir, 'best_agreement_epoch_1.pth').touch()
    with pytest.raises(FileExistsError, match='of another run'):
        unvalidated().train()


BANK = 'train_dataloader.dataset'


def test_a_bank_that_is_empty_before_the_first_epoch(unvalidated):
    """What it holds out of the rounds to come is compared."""
    runner = unvalidated(
        **{f'{SYNTHESIS}.init_rounds': 0, 'train_cfg.max_epochs': 2}
    )
    runner.train()
    assert 'AgreementHook cannot' not in log_of(runner)
    history = hook_of(runner).history
    assert all('kl' in e['last']['held_out'] for e in history.values())
    assert len([*Path(runner.work_dir).glob('best_*')]) == 1


@pytest.mark.parametrize('kind', ['bank', 'other'])
def test_the_mean_needs_no_images(unvalidated, kind):
    """It is the default; in a run of few steps, it is that of all of them."""
    cfg = unvalidated.config(
        **{
            f'{BANK}.held_out': 0,
            'train_cfg.max_epochs': 1,
            f'{HOOK}.rule': 'mean',
        }
    )
    del cfg.default_hooks.agreement['rule']
    told = 'no images are held out'
    if kind == 'other':
        images = dict(type='mmrazor.DummyImages', image_shape=(1, 8, 8))
        cfg.train_dataloader = dict(
            batch_size=4,
            dataset=dict(images, length=12),
            sampler=dict(type='DefaultSampler', shuffle=True),
        )
        del cfg.default_hooks['synthesis']
        told = 'DummyImages is no image bank'
    runner = Runner.from_cfg(cfg)
    assert hook_of(runner).rule == parse_rule('mean')
    course = Steps()
    runner.register_hook(course)
    runner.train()
    log = log_of(runner)
    assert told in log
    assert 'the run ends with the running mean of its weights. Set' in log
    (path,) = Path(runner.work_dir).glob('best_*')
    assert load_file(path)['meta']['student'] == 'mean'
    # Of 3 steps, by hand: each counts half of all up to it.
    (a, b, c) = (w['backbone.conv1.weight'] for w in course.weights)
    torch.testing.assert_close(
        copied(runner.model.architecture)['backbone.conv1.weight'],
        a / 4 + b / 4 + c / 2,
    )


class Steps(Hook):
    """Notes the weights of the student after each step."""

    def __init__(self):
        self.weights = []

    def after_train_iter(self, runner, **_):
        self.weights.append(copied(runner.model.architecture))


# Rounds have 16 images, and there are 3 after the initial ones.
@pytest.mark.parametrize(
    'init_rounds, capacity, message',
    [
        (0, None, 'initial.kl of AgreementHook .* none: set init_rounds'),
        (1, 48, 'capacity=48 of ImageBank drops .* set it to 49 or more'),
        (2, 64, 'capacity=64 of ImageBank drops .* set it to 65 or more'),
    ],
)
def test_initial_images_that_will_be_missing(
    unvalidated, init_rounds, capacity, message
):
    runner = unvalidated(
        **{
            f'{HOOK}.rule': 'initial.kl',
            f'{SYNTHESIS}.init_rounds': init_rounds,
            f'{BANK}.capacity': capacity,
        }
    )
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert not Path(runner.work_dir, 'bank').exists()


def test_initial_images_stay(unvalidated, monkeypatch):
    seen = []

    def images(bank, name, number, augment):
        found = agreement_images.bank_images(bank, name, number, augment)
        if name == 'initial':
            seen.append(found)
        return found

    monkeypatch.setattr(
        'csd_mmrazor.engine.hooks.agreement_hook.bank_images', images
    )
    runner = unvalidated(
        **{
            f'{HOOK}.rule': 'initial.kl',
            f'{SYNTHESIS}.init_rounds': 2,
            f'{BANK}.capacity': 65,
        }
    )
    runner.train()
    assert [len(each) for each in seen] == [8, 8, 8]  # a fourth of 32
    assert all(torch.equal(each, seen[0]) for each in seen)


@pytest.mark.parametrize('kind', ['bank', 'folder'])
def test_initial_images_of_elsewhere(kind, tmp_path, monkeypatch):
    """The oldest shard of a bank or of a folder is the first to go."""
    root = tmp_path / 'source'
    if kind == 'bank':
        folder = BankFolder(root, (1, 8, 8), 10)
        for index, count in enumerate((4, 6)):
            images = np.zeros((count, 1, 8, 8), np.uint8)
            folder.append(images, np.zeros(count, int), -1, index, True)
    else:
        monkeypatch.setattr(estimate, 'SHARD_SIZE', 4)
        (root / '0').mkdir(parents=True)
        for index in range(10):
            Image.new('L', (8, 8)).save(root / '0' / f'{index}.png')
    hook = Some(synthesizer=Some(iters=2, images_of=lambda iters: 16))
    for capacity, fits in ((None, True), (39, True), (38, False)):
        bank = ImageBank(init_bank=str(root), capacity=capacity)
        arguments = 'initial', 'rule', bank, hook, 2
        if fits:
            loop_checks.check_compared(*arguments)
            continue
        with pytest.raises(ValueError, match='set it to 39 or more'):
            loop_checks.check_compared(*arguments)


def test_images_that_are_dropped_are_not_compared(unvalidated, monkeypatch):
    """Where they are measured only, and where a run ends by them."""
    options = {
        f'{SYNTHESIS}.init_rounds': 2,
        f'{BANK}.capacity': 48,
        'train_cfg.max_epochs': 4,
    }
    runner = unvalidated(**options)
    runner.train()
    found = [e['last'] for e in hook_of(runner).history.values()]
    assert ['initial' in each for each in found] == [True, False, False, False]
    # As where a set fails to be there later, whatever the reason.
    checked = 'csd_mmrazor.engine.hooks.agreement_hook.check_compared'
    monkeypatch.setattr(checked, lambda *_: None)
    options.update({f'{HOOK}.patience': 1, f'{HOOK}.rule': 'initial.kl'})
    runner = unvalidated('by_rule', **options)
    runner.train()
    assert runner.epoch == 4
    log = log_of(runner)
    assert 'Epoch 3 has no finite value of initial.kl' in log
    assert 'Epoch 1 has' not in log


@pytest.mark.parametrize(
    'name, value', [('rule', 'fresh.kl'), ('sets', ['fresh'])]
)
def test_fresh_images_need_what_makes_them(unvalidated, tmp_path, name, value):
    root = tmp_path / 'bank'
    folder = BankFolder(root, (1, 8, 8), 10)
    folder.append(
        np.zeros((4, 1, 8, 8), np.uint8), np.zeros(4, int), 0, 0, True
    )
    cfg = unvalidated.config(
        **{
            f'{BANK}.data_root': str(root),
            f'{BANK}.held_out': 0,
            f'{HOOK}.{name}': value,
        }
    )
    del cfg.default_hooks['synthesis']
    runner = Runner.from_cfg(cfg)
    with pytest.raises(ValueError, match=f'{name}=fresh.* no SynthesisHook'):
        runner.train()


@pytest.mark.parametrize('steps', [1, 50, 51, 99, 149, 1000])
def test_what_the_mean_remembers(steps, unvalidated):
    """A tenth of its updates, however many an epoch has."""
    updates, hook = updates_of(steps), AgreementHook()
    assert min(steps, 25) <= len(updates) <= 50
    assert updates[0] == 0 and updates[-1] + updates.step >= steps
    runner = Some(hooks=[], model=unvalidated().model, max_epochs=20)
    runner.train_dataloader = range(steps)
    hook._start_mean(runner)
    assert hook._mean.momentum == pytest.approx(0.5 / len(updates))


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(rule='best'), 'rule should be one of'),
        (dict(sets=['val']), "sets of AgreementHook .* got 'val'"),
        (dict(sets='val'), "sets of AgreementHook .* got 'val'"),
        (dict(images=0), 'images of AgreementHook'),
        (dict(patience=0), 'patience of AgreementHook'),
        (dict(patience=1, rule='last'), "rule='last' compares none"),
        (dict(always='yes'), 'always of AgreementHook'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        AgreementHook(**kwargs)


@pytest.mark.parametrize(
    'history',
    [[], {1: []}, {'1': {}}, {1: dict(best={})}, {1: dict(last=dict(a=[1]))}],
)
def test_states_that_are_none(history):
    with pytest.raises(ValueError, match='history of AgreementHook'):
        AgreementHook().load_state_dict(dict(history=history))


def test_images_are_compared_as_networks_see_them():
    from csd_mmrazor.models.synthesizers import Networks, agreement

    torch.manual_seed(0)
    teacher, student = (build(network()) for _ in range(2))
    networks = Networks(teacher, student, None, lambda x: x.float() / 128 - 1)
    images = torch.randint(256, (300, 1, 8, 8), dtype=torch.uint8)
    student.train()
    found = agreement_images.compare(networks, dict(a=student), images)
    assert student.training
    for each in (teacher, student):
        each.eval()
    with torch.no_grad():
        inputs = images.float() / 128 - 1
        expected = agreement(
            *(m(inputs, mode='tensor') for m in (student, teacher))
        )
    assert found['a'] == pytest.approx(expected, rel=1e-4)

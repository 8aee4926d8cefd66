# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students that start from blocks of their teacher, in real runs."""

import json
import re

import pytest
import torch
from helpers import NET, build, equal, network
from noted_students import lived_in, log_of, output_of_two, trained

from csd_mmrazor.engine import SynthesisHook
from csd_mmrazor.engine.operations import operations, run_cost
from csd_mmrazor.models import Networks
from csd_mmrazor.models.utils import (
    choose_blocks,
    count_candidates,
    find_chains,
)

SYNTHESIS = 'default_hooks.synthesis'
TEACHER, STUDENT = network(depth=34), network(depth=18)
HOOK = dict(type='mmrazor.TeacherBlocksHook', images=20)


@pytest.fixture(scope='module')
def deep_file(tmp_path_factory):
    """A teacher whose blocks each do something of their own."""
    model = lived_in(TEACHER)
    path = tmp_path_factory.mktemp('deep') / 'deep.pth'
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture
def options(deep_file):
    return {
        'model.architecture': STUDENT,
        'model.teachers.teacher.build_cfg': TEACHER,
        'model.teachers.teacher.ckpt_path': str(deep_file),
        'custom_hooks': [HOOK],
        'default_hooks.report.images': 0,
        **{f'val_{part}': None for part in ('dataloader', 'cfg', 'evaluator')},
        f'{SYNTHESIS}.grid_images': 0,
        'train_dataloader.sampler.num_samples': 32,
    }


def test_it_starts_from_what_was_chosen(tiny_runner, options, caplog):
    runner = tiny_runner(**options)
    teacher = runner.model.teachers['teacher']
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    names = [name for name, _ in teacher.named_modules()]
    students = trained(runner)
    bank = runner.train_dataloader.dataset
    # 2 initial rounds of 16 images; those of epochs come later.
    places = [round(i * 31 / 19) for i in range(20)]
    networks = Networks.from_algorithm(runner.model)
    inputs = networks.normalize(bank.__getitems__(places)['inputs'])
    assert len(bank) == 4 * 16
    # By the functions alone, for a student that knows nothing of it.
    student = build(STUDENT)
    chains = find_chains(teacher, student, inputs[:2])
    choice = choose_blocks(teacher, inputs, chains)
    start, found = students[0], 0
    for name, value in before.items():
        match = re.match(r'(backbone\.layer\d)\.(\d)(.*)', name)
        if match:
            kept = choice.kept[match[1]]
            if int(match[2]) not in kept:
                continue
            name = f'{match[1]}.{kept.index(int(match[2]))}{match[3]}'
        assert torch.equal(start[name], value)
        found += 1
    assert found == len(start) < len(before)
    # The teacher is as it was, and the student is trained from there.
    assert equal(teacher.state_dict(), before)
    assert [name for name, _ in teacher.named_modules()] == names
    assert not any('forward' in vars(part) for part in teacher.modules())
    assert not equal(students[-1], start)
    log = log_of(runner)
    before, line = [e for e in log.splitlines() if 'from blocks' in e]
    count = count_candidates(chains)
    assert f'up to {count} choices of them are compared on 20 images' in before
    kept = choice.kept['backbone.layer1']
    assert (
        f'backbone.layer1: blocks {kept[0]}, {kept[1]} (2 of 3); '
        'backbone.layer2: block' in line
    )
    assert f'{100 * choice.agreement:.1f} %, KL {choice.kl:.3f}' in line


def test_killed_or_rehearsed_it_is_the_same_bit_by_bit(tiny_runner, options):
    whole = trained(tiny_runner('whole', **options))
    assert len(whole) == 5  # 2 epochs of 2 steps
    tried = trained(tiny_runner('tried', rehearsal=True, **options))
    # In the first epoch, whose round the bank has; and after it.
    for stop_at, first in ((1, 0), (3, 2)):
        work_dir = f'cut_{stop_at}'
        trained(tiny_runner(work_dir, **options), stop_at)
        resumed = trained(tiny_runner(work_dir, resume=True, **options))
        assert len(resumed) == 5 - first
        for one, other in zip(resumed, whole[first:]):
            assert equal(one, other)
    assert len(tried) == 5
    for one, other in zip(tried, whole):
        assert equal(one, other)
    # The first epoch's round may have taken the place of all initial ones.
    options['train_dataloader.dataset.capacity'] = 16
    whole = trained(tiny_runner('whole_few', **options))
    trained(tiny_runner('cut_few', **options), 1)
    again = trained(tiny_runner('cut_few', resume=True, **options))
    for one, other in zip(again, whole):
        assert equal(one, other)


def test_two_processes_start_from_the_same(
    tiny_config, options, forked, tmp_path
):
    options['custom_hooks'] = [HOOK, dict(type='Probe')]
    cfg = tiny_config(
        **options, custom_imports=dict(imports=['csd_mmrazor', 'probe'])
    )
    cfg.default_hooks.synthesis.rehearsal = False
    output = output_of_two(forked, cfg, tmp_path)
    # The first process alone chooses, by images of both.
    assert output.count('starts from blocks') == 1


def test_averaged_weights_start_from_it(tiny_runner, options):
    ema = dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=0.25,
    )
    options['custom_hooks'] = [ema, HOOK]
    runner = tiny_runner(**options, **{'train_cfg.max_epochs': 1})
    students = trained(runner)
    (hook,) = [h for h in runner.hooks if type(h).__name__ == 'EMAHook']
    # The first update takes over the weights, the others come on top.
    key = 'backbone.conv1.weight'
    expected = students[1][key]
    for student in students[2:]:
        expected = 0.75 * expected + 0.25 * student[key]
    averaged = hook.ema_model.module.student.state_dict()[key]
    assert torch.allclose(averaged, expected, atol=1e-6)


REFUSED = [
    # Options, and what the error has to name.
    (
        {'model.architecture': network(depth=18, base_channels=8)},
        ['backbone.conv1.weight', r'\(4, 1, 3, 3\)', r'\(8, 1, 3, 3\)'],
    ),
    ({'model.architecture': TEACHER}, ['as many of them as its teacher']),
    (
        {f'{SYNTHESIS}.init_rounds': 0},
        ['default_hooks.synthesis.init_rounds', 'init_bank'],
    ),
    ({'model.student_ckpt': 'FOLDER/s.pth'}, ['model.student_ckpt=.*and']),
    (
        {'custom_hooks': [dict(HOOK, images=0)]},
        ['images of TeacherBlocksHook', 'but got 0'],
    ),
    (
        {
            'model.architecture': dict(
                _delete_=True,
                type='TorchClassifier',
                factory='FOLDER/net.py:Net',
                num_classes=10,
            ),
            'model.aux_head': None,
            'model.distiller': None,
        },
        ['no name in common', 'TorchClassifier'],
    ),
]


@pytest.mark.parametrize('changes, named', REFUSED)
def test_what_does_not_fit_is_refused_before_any_image(
    tiny_runner, options, changes, named, monkeypatch, tmp_path
):
    torch.save(build(STUDENT).state_dict(), tmp_path / 's.pth')
    (tmp_path / 'net.py').write_text(NET)

    def never(*_):
        raise AssertionError('it is too late')

    monkeypatch.setattr(SynthesisHook, 'before_train', never)
    options = json.loads(
        json.dumps({**options, **changes}).replace('FOLDER', str(tmp_path))
    )
    with pytest.raises(ValueError, match=named[0]) as raised:
        tiny_runner(**options).train()
    for each in named:
        assert re.search(each, str(raised.value))


def test_its_passes_count(tiny_runner, options):
    runner = tiny_runner(**options)
    teacher = runner.model.teachers['teacher']
    (hook,) = [h for h in runner.hooks if h.__class__.__name__ == 'Teacher'
               'BlocksHook']  # fmt: skip
    with_hook = run_cost(runner).total
    runner._hooks.remove(hook)
    runner._train_loop = runner.cfg.train_cfg
    runner.optim_wrapper = runner.cfg.optim_wrapper
    without = run_cost(runner).total
    chains = find_chains(teacher, build(STUDENT), torch.rand(2, 1, 8, 8))
    inputs = torch.rand(20, 1, 8, 8)
    exactly = operations(lambda: choose_blocks(teacher, inputs, chains))
    added = (with_hook - without) * 1e9
    assert added == pytest.approx(exactly)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Pruned students that are fitted to their teacher, in real runs."""

import copy
import re

import pytest
import torch
from helpers import equal, network
from noted_students import lived_in, log_of, output_of_two, trained

from csd_mmrazor.engine import SynthesisHook
from csd_mmrazor.engine.operations import operations, run_cost
from csd_mmrazor.models import Networks
from csd_mmrazor.models.utils import find_refittable, load_weights, refit

SYNTHESIS = 'default_hooks.synthesis'
NET = network(depth=18)
HOOK = dict(type='mmrazor.RefitHook', images=20)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A network, and what pruning leaves if blocks keep their outputs."""
    model = lived_in(NET)
    folder = tmp_path_factory.mktemp('files')
    state = model.state_dict()
    torch.save(state, folder / 'whole.pth')
    for key in list(state):
        if re.search(r'layer\d\.\d\.(conv1|bn1)', key) and state[key].ndim:
            state[key] = state[key][: len(state[key]) // 2]
        elif re.search(r'layer\d\.\d\.conv2', key):
            state[key] = state[key][:, : state[key].shape[1] // 2]
    torch.save(state, folder / 'pruned.pth')
    return folder


@pytest.fixture
def options(files):
    pruned = str(files / 'pruned.pth')
    return {
        'model.architecture': dict(
            _delete_=True,
            type='mmrazor.PrunedNetwork',
            network=NET,
            shapes=pruned,
        ),
        'model.student_ckpt': pruned,
        'model.teachers.teacher.build_cfg': NET,
        'model.teachers.teacher.ckpt_path': str(files / 'whole.pth'),
        'custom_hooks': [HOOK],
        'default_hooks.report.images': 0,
        **{f'val_{part}': None for part in ('dataloader', 'cfg', 'evaluator')},
        f'{SYNTHESIS}.grid_images': 0,
        'train_dataloader.sampler.num_samples': 32,
    }


def test_it_starts_from_what_was_fitted(tiny_runner, options, files):
    runner = tiny_runner(rehearsal=True, **options)
    students = trained(runner)
    bank = runner.train_dataloader.dataset
    # 2 initial rounds of 16 images; those of epochs come later.
    places = [round(i * 31 / 19) for i in range(20)]
    networks = Networks.from_algorithm(runner.model)
    inputs = networks.normalize(bank.__getitems__(places)['inputs'])
    assert len(bank) == 4 * 16
    teacher, student = (
        networks.each_teacher[0],
        copy.deepcopy(networks.student),
    )
    load_weights(student, str(files / 'pruned.pth'), 'x')
    fitted = find_refittable(teacher, student, inputs[:2])
    assert len(fitted) == 4
    before, after = refit(teacher, student, inputs, fitted)
    assert equal(students[0], student.state_dict())
    assert not equal(students[-1], students[0])
    assert after.kl < before.kl
    (line,) = [e for e in log_of(runner).splitlines() if 'were fitted' in e]
    assert '4 layers of the pruned student, from backbone.layer1.0' in line
    assert f'{100 * after.agreement:.1f} % of them (before: ' in line
    assert f'{100 * before.agreement:.1f}), KL {after.kl:.3f} (' in line


@pytest.mark.parametrize('capacity', [None, 32, 16])
def test_killed_it_is_the_same_bit_by_bit(tiny_runner, options, capacity):
    """Also where the first epoch's round took the place of initial ones."""
    options['train_dataloader.dataset.capacity'] = capacity
    whole = trained(tiny_runner('whole', **options))
    assert len(whole) == 5  # 2 epochs of 2 steps
    # In the first epoch, whose round the bank has already.
    trained(tiny_runner('cut', **options), 1)
    resumed = trained(tiny_runner('cut', resume=True, **options))
    assert len(resumed) == 5
    for one, other in zip(resumed, whole):
        assert equal(one, other)


def test_what_would_become_worse_stays(tiny_runner, options, monkeypatch):
    from csd_mmrazor.engine.hooks import refit_hook

    def worse(teacher, student, *_):
        before = refit(teacher, student, *_)
        return before[::-1]

    runner = tiny_runner(**options, **{'train_cfg.max_epochs': 1})
    start = torch.load(options['model.student_ckpt'])
    monkeypatch.setattr(refit_hook, 'refit', worse)
    assert equal(trained(runner)[0], start)
    assert 'RefitHook left the student as it was' in log_of(runner)


def test_two_processes_start_from_the_same(
    tiny_config, options, forked, tmp_path
):
    options['custom_hooks'] = [HOOK, dict(type='Probe')]
    cfg = tiny_config(
        **options,
        **{'train_cfg.max_epochs': 1, f'{SYNTHESIS}.rehearsal': False},
        custom_imports=dict(imports=['csd_mmrazor', 'probe']),
    )
    output = output_of_two(forked, cfg, tmp_path)
    # The first process alone fits it, by images of both.
    assert output.count('were fitted to the teacher') == 1


REFUSED = [
    # Options, and what the error has to name.
    ({'model.architecture': NET, 'model.student_ckpt': None}, 'RefitHook'),
    (
        {f'{SYNTHESIS}.init_rounds': 0},
        'RefitHook .*init_rounds.* init_bank',
    ),
    (
        {'custom_hooks': [dict(HOOK, images=0)]},
        'images of RefitHook .*but got 0',
    ),
]


@pytest.mark.parametrize('changes, named', REFUSED)
def test_what_does_not_fit_is_refused_before_any_image(
    tiny_runner, options, changes, named, monkeypatch
):
    def never(*_):
        raise AssertionError('it is too late')

    monkeypatch.setattr(SynthesisHook, 'before_train', never)
    if 'model.architecture' in changes:
        changes = {
            **changes,
            'model.architecture': dict(
                changes['model.architecture'], _delete_=True
            ),
        }
    with pytest.raises(ValueError, match=named):
        tiny_runner(**{**options, **changes}).train()


def test_its_passes_count(tiny_runner, options):
    runner = tiny_runner(**options)
    networks = Networks.from_algorithm(runner.model)
    teacher, student = networks.each_teacher[0], networks.student
    (hook,) = [h for h in runner.hooks if type(h).__name__ == 'RefitHook']
    with_hook = run_cost(runner).total
    runner._hooks.remove(hook)
    runner._train_loop = runner.cfg.train_cfg
    runner.optim_wrapper = runner.cfg.optim_wrapper
    without = run_cost(runner).total
    inputs = torch.rand(1, 1, 8, 8)
    places = find_refittable(teacher, student, inputs)
    student = copy.deepcopy(student)
    exactly = operations(lambda: refit(teacher, student, inputs, places))
    added = (with_hook - without) * 1e9
    assert added == pytest.approx(20 * exactly) and exactly > 0

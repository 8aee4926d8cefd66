# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students of distill() that were pruned from their teacher."""

import json
from copy import deepcopy

import pytest
import torch
from helpers import TINY
from torch import nn

from csd_mmrazor.api import trial
from csd_mmrazor.api.networks import Network
from csd_mmrazor.api.pruned import pruned_places, share_of_zeros
from csd_mmrazor.cli.distill import arguments_of, parse_args
from csd_mmrazor.cli.run_source import Run
from csd_mmrazor.engine.hooks import refit_hook
from csd_mmrazor.models.utils import Likeness

WAS_FITTED = 'lost inputs by pruning were fitted to the teacher\n'
LEFT = [0, 1, 4, 7, 9, 15]


def pruned(teacher):
    """A copy of which the first layer has lost channels."""
    student = deepcopy(teacher)
    first, norm, last = (student.body[place] for place in (0, 1, 4))
    first.weight = nn.Parameter(first.weight.detach()[LEFT])
    last.weight = nn.Parameter(last.weight.detach()[:, LEFT])
    first.out_channels = last.in_channels = norm.num_features = len(LEFT)
    for name in ('weight', 'bias'):
        cut = getattr(norm, name).detach()[LEFT]
        setattr(norm, name, nn.Parameter(cut))
    for name in ('running_mean', 'running_var'):
        setattr(norm, name, getattr(norm, name)[LEFT])
    return student


def found(teacher, student, given=None):
    copies = dict(teacher=teacher, student=student)
    networks = {
        name: Network(net, dict(factory='net.py:Net'), '')
        for name, net in copies.items()
    }
    return pruned_places(given, networks, copies, torch.randn(2, 1, 12, 12))


def test_by_default_what_has_weights_of_the_teacher(teacher, net):
    student = pruned(teacher)
    (place,) = found(teacher, student)
    assert (place.layer, place.norm) == ('net.body.4', 'net.body.5')
    assert not found(teacher, student, given=False)
    # Trained on since, it may know more than the teacher can tell.
    with torch.no_grad():
        student.fc.weight += 1
    assert not found(teacher, student)
    assert found(teacher, student, given=True) == [place]
    # The classifier alone is no gain.
    whole = deepcopy(teacher)
    student = pruned(teacher)
    whole.body[4], student.body[4] = nn.Identity(), nn.Identity()
    whole.body[5], student.body[5] = nn.Identity(), nn.Identity()
    whole.fc = nn.Linear(16, 3)
    student.fc = nn.Linear(len(LEFT), 3)
    with torch.no_grad():
        student.fc.weight.copy_(whole.fc.weight[:, LEFT])
        student.fc.bias.copy_(whole.fc.bias)
    assert not found(whole, student)
    assert found(whole, student, given=True)
    # Its own weights are new.
    assert not found(teacher, net(4))
    assert not found(teacher, nn.Linear(3, 3))


def test_single_weights_that_were_pruned(teacher, net):
    """They come back, unlike channels."""
    student = deepcopy(teacher)
    assert share_of_zeros(student) == share_of_zeros(nn.Flatten()) == 0
    with torch.no_grad():
        student.fc.weight[:, ::2] = 0
    share = share_of_zeros(student)
    sizes = [p.numel() for p in student.parameters() if p.ndim > 1]
    assert share == student.fc.weight.numel() / 2 / sum(sizes)
    with torch.no_grad():  # as of a new layer
        student.fc.weight.zero_()
    assert share_of_zeros(student) == 0


def test_triangles_that_weights_are_made_of_are_not_pruned(teacher):
    student = deepcopy(teacher)
    nn.utils.parametrizations.orthogonal(student.fc)
    assert share_of_zeros(student) == 0


@pytest.mark.parametrize(
    'width, why',
    [
        (16, 'both are of one size'),
        (17, r'body.0.weight is \(17, 1, 3, 3\) in the student, \(16, '),
        (None, 'bias is in one of the two alone'),
    ],
)
def test_what_was_not_pruned_is_refused(width, why, teacher, net):
    student = nn.Linear(3, 3) if width is None else net(width)
    with pytest.raises(ValueError, match=f'refit=True .*, but {why}.*: leave'):
        found(teacher, student, given=True)


def test_a_last_layer_of_fewer_outputs_is_refused(teacher):
    """Nothing is left that could return what the teacher does."""
    student = deepcopy(teacher)
    student.fc = nn.Linear(32, 2)
    with pytest.raises(
        ValueError, match='no plain .* of the student lost input'
    ):
        found(teacher, student, given=True)


def test_a_run_of_it(teacher, call, capsys):
    student = pruned(teacher)
    before = deepcopy(student).eval()
    # So that training leaves the student nearly as it starts.
    arguments = dict(val=None, budget=3, schedule=dict(TINY, lr=1e-9))
    run = call(teacher, student, **arguments)
    told = capsys.readouterr().out
    assert 'pruned from the teacher: its layer net.body.4 is fitted' in told
    assert 'pruned layers: fitted to the teacher in' in told
    assert run.plan.timings.fit > 0
    given = dict(student.named_parameters())
    changed = {
        name
        for name, value in before.named_parameters()
        if not torch.allclose(given[name], value, atol=1e-5)
    }
    assert changed == {'body.4.weight'}
    kept = deepcopy(before)
    fitted = run.work_dir / 'networks/student_fitted.pth'
    kept.load_state_dict(torch.load(fitted, weights_only=True))
    for name, value in kept.named_parameters():
        torch.testing.assert_close(value, given[name], atol=1e-5, rtol=0)
    log = next(run.work_dir.glob('*/*.log')).read_text()
    assert 'Layer net.body.4 of the pruned student was fitted' in log
    card = (run.work_dir / 'student/README.md').read_text()
    assert 'from which it was pruned\n' in card and WAS_FITTED in card
    # What is left of it does not need this program.
    of_run = Run(str(run.work_dir), None)
    assert of_run.cfg.model.architecture.type == 'mmrazor.PrunedNetwork'
    assert 'alone' not in (run.work_dir / 'config.py').read_text()
    images = torch.randn(4, 1, 12, 12)
    _, again = of_run.networks('student', 'teacher')
    for found, expected in zip(again, (run.student, teacher.eval())):
        torch.testing.assert_close(found(images), expected(images))
    # It is trained now, and its run is known all the same.
    call(teacher, student, **arguments)
    assert 'this run, which continues' in capsys.readouterr().out
    record = json.loads((run.work_dir / 'distill.json').read_text())
    assert record['refit'] is True
    with pytest.raises(ValueError, match='refit=None there, refit=False here'):
        call(teacher, student, **arguments, refit=False)


def test_a_fit_that_is_no_better_is_not_told_of(teacher, call, monkeypatch):
    worse = Likeness(1.0, 0.5), Likeness(2.0, 0.5)
    monkeypatch.setattr(refit_hook, 'refit', lambda *_: worse)
    run = call(teacher, pruned(teacher), val=None, budget=3)
    assert any('refit=True left the student' in w for w in run.warnings)
    card = (run.work_dir / 'student/README.md').read_text()
    assert 'from which it was pruned\n' in card and WAS_FITTED not in card


@pytest.mark.parametrize('with_val', [True, False])
def test_what_training_took_from_it_is_told(with_val, teacher, call):
    student = pruned(teacher)
    with torch.no_grad():  # nothing is left of it but what the fit gives back
        student.body[4].weight.zero_()
    arguments = dict(
        {} if with_val else dict(val=None),
        refit=True,
        schedule=dict(TINY, synthesis_batch=32 if with_val else 128, lr=3.0),
    )
    for _ in range(2):  # the second call finds the run at its end
        run = call(teacher, student, **arguments)
        (text,) = (w for w in run.warnings if 'student is worse than' in w)
        assert 'right after it was fitted to the teacher: its' in text
        assert ('accuracy on val' in text) == with_val
        assert text.endswith(f'{run.work_dir}/networks/student_fitted.pth')
    assert 'schedule=dict(lr=1)' in text


@pytest.mark.parametrize(
    'agreement, rate, told',
    [
        (
            0.6,
            {},
            'much like the teacher before training, so it learns at lr=0.01',
        ),
        (
            0.0,
            {},
            'student: it has weights of its teacher, from which it was pruned'
            ', but decides like the teacher hardly more often than by chance, '
            'so it learns at lr=0.1, as random weights do; schedule=dict('
            'lr=...) sets another',
        ),
        (
            0.0,
            dict(lr=0.02),
            'than by chance; lr=0.02, as the schedule has it',
        ),
    ],
)
def test_its_rate_is_told(
    agreement, rate, told, teacher, call, capsys, monkeypatch
):
    monkeypatch.setattr(trial, 'start_agreement', lambda *_: agreement)
    plan = call(
        *(teacher, pruned(teacher)),
        val=None,
        plan_only=True,
        schedule=dict(TINY, **rate),
    )
    assert told in capsys.readouterr().out
    assert plan.schedule.lr == rate.get('lr', 0.01 if agreement else 0.1)


@pytest.mark.parametrize(
    'words, value', [([], None), (['--refit'], True), (['--no-refit'], False)]
)
def test_the_option(words, value):
    argv = ['--teacher', 'a', '--student', 'b', '--image-shape', '1,8,8']
    assert arguments_of(parse_args([*argv, *words]))['refit'] is value

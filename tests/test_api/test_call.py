# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import logging
import multiprocessing
import os
import random
import re
import shutil
import sys
import warnings
from collections import OrderedDict
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path

import cv2
import mmpretrain
import numpy as np
import pytest
import torch
import torch.nn as nn
import torchvision
from helpers import ROOT, TINY, Stop, equal, front_of, network
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import DefaultScope
from PIL import Image

from csd_mmrazor.api import trial
from csd_mmrazor.api.argument_names import typed_as
from csd_mmrazor.api.config import augmentation, is_normalised, method_of
from csd_mmrazor.api.record import check_config
from csd_mmrazor.api.start import digest_of_weights
from csd_mmrazor.api.val_images import check_val_is_apart
from csd_mmrazor.cli.distill import as_options
from csd_mmrazor.cli.quantize import parse_args, quantize
from csd_mmrazor.datasets import BankError, BankFolder
from csd_mmrazor.datasets.shared_pictures import share_among
from csd_mmrazor.export import CALIBRATED
from csd_mmrazor.export.source import read_run_config
from csd_mmrazor.models.synthesizers import ImageSynthesizer
from csd_mmrazor.utils import slow_bfloat16
from csd_mmrazor.utils.downloads import cache_place
from csd_mmrazor.utils.imports import import_object, lend
from csd_mmrazor.utils.plain_config import BY_DISTILL


def process_state():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        [logging.getLogger(n).level for n in ('', 'mmengine', 'csd')],
        [logging.getLogger(n).handlers[:] for n in ('', 'mmengine', 'csd')],
        dict(os.environ),
        list(sys.path),
        os.getcwd(),
        multiprocessing.get_start_method(allow_none=True),
        cv2.getNumThreads(),
        dict(MMLogger._instance_dict),
        dict(DefaultScope._instance_dict),
    )


def state(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


@pytest.fixture(scope='module')
def finished(home, tmp_path_factory):
    """A run of two live networks, and what was before and after it."""
    from csd_mmrazor import distill

    net = sys.modules['tiny_net_of_a_user'].Net
    teacher, student = net(16), net(4)
    teacher.load_state_dict(torch.load(home / 't.pth', weights_only=True))
    teacher.train()
    found = dict(teacher=teacher, student=student)
    found['weights'] = {k: state(found[k]) for k in ('teacher', 'student')}
    folder = tmp_path_factory.mktemp('finished') / 'run'
    torch.set_default_dtype(torch.float64)
    logging.getLogger('csd').setLevel(logging.ERROR)
    method = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method('spawn', force=True)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        with (
            torch.no_grad(),
            torch.autocast('cpu', torch.bfloat16),
            warnings.catch_warnings(record=True) as found['told'],
        ):
            warnings.simplefilter('always')
            before = process_state()
            found['run'] = distill(
                teacher,
                student,
                image_shape=(1, 12, 12),
                mean=[0.4],
                std=[0.3],
                val=str(home / 'val'),
                budget=20,
                work_dir=folder,
                schedule=TINY,
                device=torch.device('cpu'),
            )
            found['states'] = before, process_state()
    finally:
        torch.set_default_dtype(torch.float32)
        multiprocessing.set_start_method(method, force=True)
        cv2.setNumThreads(threads)
    return found


def test_the_student_is_the_callers_own(finished):
    run = finished['run']
    assert run.student is finished['student']
    assert 'Conv2d' in str(run.student) and 'Conv2d' not in str(run)
    assert not run.student.training
    assert not equal(state(run.student), finished['weights']['student'])
    last = torch.load(run.work_dir / 'epoch_2.pth', weights_only=False)
    prefix = 'architecture.net.'
    saved = {
        k[len(prefix) :]: v
        for k, v in last['state_dict'].items()
        if k.startswith(prefix)
    }
    assert equal(state(run.student), saved)


def test_nothing_else_is_changed(finished):
    teacher = finished['teacher']
    assert equal(state(teacher), finished['weights']['teacher'])
    assert teacher.training and all(
        p.requires_grad and p.grad is None for p in teacher.parameters()
    )
    assert not any(m._forward_hooks for m in teacher.modules())
    before, after = finished['states']
    assert before == after
    # It has another start method of processes for a time.
    assert not [
        each
        for each in finished['told']
        if 'start method' in f'{each.message}'
    ]


def test_the_figures(finished, home, net):
    """Against the networks' own answers to the files."""
    from PIL import Image

    run, teacher = finished['run'], deepcopy(finished['teacher']).eval()
    right = dict(teacher=0, student=0)
    paths = sorted(home.glob('val/*/*.png'))
    for path in paths:
        image = np.asarray(Image.open(path), np.float32) / 255
        inputs = torch.from_numpy((image - 0.4) / 0.3)[None, None]
        for name, model in dict(teacher=teacher, student=run.student).items():
            answer = model(inputs).argmax().item()
            right[name] += answer == 'abc'.index(path.parent.name)
    for name, top1 in dict(teacher=run.teacher_top1, student=run.top1).items():
        assert top1 == round(100 * right[name] / len(paths), 2)
    assert run.teacher_top1 > 80
    assert run.agreement is run.estimate is None


def test_its_config_gives_the_same_weights(finished, forked, tmp_path):
    run = finished['run']
    done = forked(run.config, '--work-dir', tmp_path / 'again')
    assert done.status == [0], done.output
    one, other = (
        torch.load(folder / 'epoch_2.pth', weights_only=False)['state_dict']
        for folder in (run.work_dir, tmp_path / 'again')
    )
    assert equal(OrderedDict(one), OrderedDict(other))


def test_it_has_the_hooks_of_the_configs(finished):
    """All of the base config but the one that looks at real images."""
    base = Config.fromfile(ROOT / 'configs/_base_/csd.py').default_hooks
    own = Config.fromfile(finished['run'].config).default_hooks
    assert set(base) - set(own) == {'aux_probe', 'visualization'}
    assert set(own) <= set(base)
    for name, hook in own.items():
        assert hook.type == base[name].type


def test_a_finished_run_is_not_trained_again(finished, net, call, capsys):
    run = finished['run']
    files = {p: p.stat().st_mtime_ns for p in run.work_dir.glob('*.pth')}
    again = call(
        deepcopy(finished['teacher']),
        net(4),
        work_dir=run.work_dir,
        budget=' 20',  # as the command has it
        seed=np.int64(0),
    )
    assert equal(state(again.student), state(run.student))
    assert (again.top1, again.teacher_top1) == (run.top1, run.teacher_top1)
    told = capsys.readouterr().out
    assert 'which continues; the weights of the student that was' in told
    assert 'dataset metainfo' not in told and '--auto-scale-lr' not in told
    assert files == {p: p.stat().st_mtime_ns for p in files}


def test_other_arguments_in_its_work_dir_are_refused(finished, net, call):
    run = finished['run']
    for changes, shown in (
        (dict(seed=1), 'seed=0 there, seed=1 here'),
        (dict(mean=0.9), 'mean=[0.4] there, mean=0.9 here'),
        (dict(mean=[102], std=[78]), 'std=[0.3] there, std=[78] here'),
        (dict(val=None), "val' there, val=None here"),
        (dict(val=[]), "val' there, val=a list here"),
    ):
        with pytest.raises(ValueError, match=re.escape(shown)):
            call(finished['teacher'], net(4), work_dir=run.work_dir, **changes)
    for networks, shown in (
        ((net(16), net(4)), 'teacher with other weights)'),
        ((finished['teacher'], net(5)), '(student with other sizes of w'),
    ):
        with pytest.raises(ValueError, match=re.escape(shown)):
            call(*networks, work_dir=run.work_dir)
    for name in ('teacher_feature', 'student_feature', 'student_pooled'):
        with pytest.raises(ValueError, match=f"{name}=None there, {name}='bo"):
            call(
                finished['teacher'],
                net(4),
                work_dir=run.work_dir,
                **{name: 'body'},
            )


def test_other_weights_in_its_work_dir_are_refused(
    finished, net, call, tmp_path
):
    """They would not be used."""
    run = finished['run']
    student = deepcopy(run.student)
    with torch.no_grad():
        student.fc.weight += 1
    with pytest.raises(ValueError, match='student has other weights than'):
        call(finished['teacher'], student, work_dir=run.work_dir)
    torch.save(student.state_dict(), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='student_weights=.*other.pth.* has'):
        call(
            finished['teacher'],
            net(4),
            work_dir=run.work_dir,
            student_weights=str(tmp_path / 'other.pth'),
        )
    record = json.loads((run.work_dir / 'distill.json').read_text())
    assert record['trained'] == digest_of_weights(run.student)


def merged(there, change):
    """A dict with others for some of its values; None takes one out."""
    found = dict(there)
    for key, value in change.items():
        if isinstance(value, dict):
            found[key] = merged(there.get(key) or {}, value)
        elif value is None:
            del found[key]
        else:
            found[key] = value
    return found


def test_a_budget_too_short_for_val(teacher, net, call, monkeypatch):
    """It is refused before all images have been shown to the teacher."""
    seen, answers = [], trial.answers

    def noting(*given):
        seen.append(given[4:])
        return answers(*given)

    monkeypatch.setattr(trial, 'answers', noting)
    monkeypatch.setattr(trial, '_since', lambda start: 100)
    monkeypatch.setattr(trial, '_FEW', 1)
    val = [(torch.rand(1, 12, 12), 0)] * 1000
    message = 'too little: of its 90 s, .* pass of the teacher over val takes'
    with pytest.raises(ValueError, match=message):
        call(teacher, net(4), val=val, budget='90s')
    assert seen == [(1,)]


# Seconds that are measured, and what has been made when it is known from them
# that a budget is too little: rounds of the trial itself, behind steps with a
# few images and two rounds of a rehearsal.
TOO_SHORT = dict(
    trial=([9, 3, 6], [(2, 1), (2, 1), (6, 1)]),
    round=([0, 99, 99], [(2, 1), *[(8, 2)] * 2, *[(128, 2)] * 2, (128, 3)]),
)


@pytest.mark.parametrize('known', TOO_SHORT)
def test_a_budget_too_short_for_the_trial(
    known, teacher, net, call, monkeypatch
):
    """It is refused as soon as that is known."""
    seconds, expected = TOO_SHORT[known]
    made, synthesize = [], ImageSynthesizer.synthesize
    measured = iter(seconds)

    def note(self, *args, **kwargs):
        made.append((self.batch_size, kwargs['iters']))
        return synthesize(self, *args, **kwargs)

    monkeypatch.setattr(ImageSynthesizer, 'synthesize', note)
    monkeypatch.setattr(trial, '_since', lambda start: next(measured))
    what = 'the trial that plans the run' if known == 'trial' else 'the rest'
    with pytest.raises(ValueError, match=f'too little: of its 60 s, .*{what}'):
        call(teacher, net(4), val=None, budget='60s', schedule=None)
    assert made == expected


@pytest.mark.parametrize(
    'method, seconds, expected',
    [
        ('plain', [9, 3, 6], (6 - 3) / 4 / 2 * 8 * 10),
        ('csd', [9, 3, 6], 30),
        ('deepinversion', [9, 3, 6], 30),
        # It is no matter of images: of calls, or of other processes.
        ('plain', [9, 3, 5.9], 0),
        ('plain', [9, 6, 3], 0),
        ('plain', [0.2], 0),
        ('plain', [9, 0.2], 0),
    ],
)
def test_the_least_that_a_trial_takes(
    method, seconds, expected, teacher, net, call, monkeypatch, capsys
):
    """It is measured before the trial, by steps with a few images."""
    found, measured = [], iter(seconds)
    least = trial.least_seconds

    def noting(*given):
        with monkeypatch.context() as patch:
            patch.setattr(trial, '_since', lambda start: next(measured))
            found.append(least(*given))
        return found[0]

    monkeypatch.setattr(trial, 'least_seconds', noting)
    call(teacher, net(4), method=method, val=None, plan_only=True)
    assert found == [pytest.approx(expected)] and not [*measured]
    told = 'the trial takes 30 s or more' in capsys.readouterr().out
    assert told == bool(expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason='is of the CPU alone')
def test_threads_that_wait_are_told_of(
    teacher, net, call, monkeypatch, capsys
):
    monkeypatch.setattr(trial.BusyCores, 'advice', lambda *_: 'all are busy')
    call(teacher, net(4), val=None, plan_only=True)
    assert '\n  all are busy\n' in capsys.readouterr().out


@pytest.mark.parametrize('amp', [None, 'bfloat16'])
def test_a_cpu_that_is_slow_in_bfloat16(
    teacher, net, call, monkeypatch, capsys, amp
):
    monkeypatch.setattr(slow_bfloat16, 'bfloat16_slowdown', lambda: 11.9)
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    call(teacher, net(4), val=None, plan_only=True, amp=amp)
    told = capsys.readouterr().out
    assert told.count('takes 12 times as long') == (amp == 'bfloat16')
    assert ('as in float32; amp=None trains in float32\n' in told) == bool(amp)


def test_slow_rounds_are_timed_by_fewer_steps(teacher, net, call, monkeypatch):
    made, synthesize = [], ImageSynthesizer.synthesize

    def note(self, *args, **kwargs):
        made.append(kwargs['iters'])
        return synthesize(self, *args, **kwargs)

    monkeypatch.setattr(ImageSynthesizer, 'synthesize', note)
    monkeypatch.setattr(trial, '_since', lambda start: 11)
    plan = call(teacher, net(4), val=None, plan_only=True)
    assert made[-2:] == [3, 3]
    assert plan.timings.round == pytest.approx(11 / 3 * plan.schedule.iters)


def test_a_plan_of_centuries(teacher, net, call):
    schedule = dict(TINY, iters=10**7, rounds=10**7)
    with pytest.raises(ValueError, match='plan takes more than ten years'):
        call(teacher, net(4), val=None, schedule=schedule)


@pytest.mark.parametrize(
    'name, content, message',
    [
        *(
            ('distill.json', content, 'distill.json is damaged')
            for content in (
                *(b'', b'{', b'null', b'[]', b'\xff', b'{"plan": 3}'),
                b'[' * 100_000,
            )
        ),
        *(
            ('distill.json', change, f'distill.json is damaged .*{named}')
            for named, change in (
                ('memory of Plan', dict(plan=dict(memory='x'))),
                ('epochs of Sch', dict(plan=dict(schedule=dict(epochs='x')))),
                ('step of Timings', dict(plan=dict(timings=dict(step=[])))),
                ('warnings', dict(warnings=[[]])),
                ('warnings', dict(warnings='no')),
                ('written', dict(written=dict(mean=3))),
                ('doubt', dict(doubt=3)),
                ('start_top1', dict(start_top1='x')),
                ('teacher_top1', dict(teacher_top1='x')),
                ('start', dict(start=3)),
                ('control char', dict(doubt='\x1b[2J')),
                ('control char', dict(start=dict(weights='\x1b[2J'))),
                ('control char', dict(warnings=['\x1b[2J'])),
                ('images of start', dict(start=dict(images=['x', 'y']))),
                ('ValueError', dict(start=dict(images='x'))),
                ("KeyError: 'val'", dict(request=dict(val=None))),
            )
        ),
        *(
            ('config.py', content, 'config.py is not what this call makes')
            for content in (b'', b'{', b'\xff', b'model = 3')
        ),
    ],
)
def test_damaged_files(name, content, message, finished, net, call):
    work_dir = finished['run'].work_dir
    before = (work_dir / name).read_bytes()
    if isinstance(content, dict):
        changed = merged(json.loads(before), content)
        content = json.dumps(changed).encode()
    (work_dir / name).write_bytes(content)
    try:
        with pytest.raises(ValueError, match=message):
            call(deepcopy(finished['teacher']), net(4), work_dir=work_dir)
    finally:
        (work_dir / name).write_bytes(before)


def test_a_command_with_a_space_in_its_path(tmp_path):
    path = tmp_path / 'my run' / 'config.py'
    path.parent.mkdir()
    path.write_text('model = 3')
    with pytest.raises(ValueError, match=f"continues by it: '{path}' --res"):
        check_config(path, 'model = 4')


def test_code_of_a_config_that_was_changed(finished, net, call):
    """Someone else's work dir names a function; it is not called."""
    path = finished['run'].config
    before = path.read_text()
    line = next(w for w in before.split("'") if w.endswith(':Net'))
    path.write_text(before.replace(line, 'os.mkdir'))
    assert path.read_text() != before
    try:
        with pytest.raises(ValueError, match='not what this call makes'):
            call(deepcopy(finished['teacher']), net(4), work_dir=path.parent)
    finally:
        path.write_text(before)


def test_a_config_that_was_removed_is_made_again(finished, net, call):
    path = finished['run'].config
    before = path.read_text()
    path.unlink()
    call(deepcopy(finished['teacher']), net(4), work_dir=path.parent)
    assert path.read_text() == before


def test_a_run_that_was_moved_continues(finished, net, call, tmp_path):
    run = finished['run']
    moved = tmp_path / 'moved'
    shutil.copytree(run.work_dir, moved)
    again = call(deepcopy(finished['teacher']), net(4), work_dir=moved)
    assert equal(state(again.student), state(run.student))
    assert not any('run that differs' in text for text in again.warnings)
    before = run.config.read_text()
    assert again.config.read_text() == before.replace(
        str(run.work_dir), str(moved)
    )


def test_a_network_that_was_used_is_told(finished, call):
    """In which a pass has left something; no config makes it again."""
    student = deepcopy(finished['run'].student)
    student.last = (1, 12, 12)
    message = (
        r"factory: '.* -> 'lent:student'\): .* student \(Net\) cannot be .*"
        r'\(last\)\. Give it as it was made\. Remove it to continue'
    )
    with pytest.raises(ValueError, match=message):
        call(
            deepcopy(finished['teacher']),
            student,
            work_dir=finished['run'].work_dir,
        )


def test_a_kill_at_its_start_leaves_the_config(
    finished, net, call, monkeypatch
):
    path = finished['run'].config
    before = path.read_text()

    def kill(*args):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr('csd_mmrazor.api.call.keep_warnings', kill)
        with pytest.raises(Stop):
            call(deepcopy(finished['teacher']), net(4), work_dir=path.parent)
    assert path.read_text() == before


@pytest.mark.parametrize(
    'name',
    [
        'config.py',
        'student/student.pth',
        'bank/x.png',
        'net.pth',
        'networks/teacher.pth',
        '.trial/notes.txt',
        'report.json',
        'report.html',
    ],
)
def test_files_of_others_are_kept(name, teacher, net, call, tmp_path):
    path = tmp_path / 'run' / name
    path.parent.mkdir(parents=True)
    path.write_text('mine')
    with pytest.raises(ValueError, match='files that distill.. did not make'):
        call(teacher, net(4))
    assert path.read_text() == 'mine'


def test_networks_are_not_written_through_a_link(teacher, net, call, tmp_path):
    """To a folder that others share; the call may have been killed."""
    shared, run = tmp_path / 'shared', tmp_path / 'run'
    shared.mkdir()
    run.mkdir()
    (shared / 'teacher.pth').write_text('theirs')
    (run / 'config.py').write_text(BY_DISTILL)
    (run / 'networks').symlink_to(shared)
    message = (
        'weights of networks should be a path below the work dir .* work_dir'
    )
    with pytest.raises(ValueError, match=message):
        call(teacher, net(4))
    assert (shared / 'teacher.pth').read_text() == 'theirs'
    assert [path.name for path in shared.iterdir()] == ['teacher.pth']


def test_a_call_goes_on_after_a_trial_that_was_killed(
    teacher, net, call, tmp_path, monkeypatch
):
    run, left = tmp_path / 'run', {}

    def stop(*args):
        left.update((p, p.read_bytes()) for p in run.rglob('*.p[yt]*'))
        raise Stop

    monkeypatch.setattr('csd_mmrazor.api.call.run_trial', stop)
    for _ in range(2):
        with pytest.raises(Stop):
            call(teacher, net(4))
        # One that ends by an error leaves nothing.
        assert not [*run.rglob('*.p[yt]*')] and len(left) == 3
        for path, content in left.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        (run / '.trial').mkdir()


def test_what_is_kept_of_weights_for_eval_mode(teacher, net, call):
    """By a pass with gradients; no config can name a class from in here."""

    class Kept(net):
        kept = None

        def train(self, mode=True):
            self.kept = None
            return super().train(mode)

        def forward(self, x):
            if self.training or self.kept is None:
                self.kept = self.fc.weight * 2
            maps = self.body(x).mean((2, 3))
            return torch.nn.functional.linear(maps, self.kept, self.fc.bias)

    run = call(teacher, Kept(4))
    path = run.work_dir / 'student/student.pth'
    state = torch.load(path, weights_only=True)
    found = Kept(4)
    found.load_state_dict(state)
    images = torch.randn(3, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(
            found.eval()(images), run.student.eval()(images)
        )


@pytest.mark.parametrize('name', ['work_dir', 'val', 'init_bank'])
def test_the_folder_of_the_user(
    name, teacher, net, call, tmp_path, monkeypatch
):
    """As with weights, whose files may have it, too."""
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'here').mkdir()
    (tmp_path / 'here/a.pth').write_text('not of distill()')
    with pytest.raises((OSError, ValueError), match=f'{tmp_path}/here'):
        call(teacher, net(4), **{name: '~/here'})


def test_a_plan_writes_nothing_on_any_device(
    teacher, net, call, tmp_path, capsys, monkeypatch
):
    """A folder beside the work dir has a name of any kind, too."""
    student = net(4)
    timed, make = [], ImageSynthesizer.synthesize

    def note(*args, with_student=True, **kwargs):
        timed.append((with_student, kwargs['iters']))
        return make(*args, with_student=with_student, **kwargs)

    monkeypatch.setattr(ImageSynthesizer, 'synthesize', note)
    # Where they are slow, it is told how long the rest takes.
    monkeypatch.setattr(trial, '_LONG', 0)
    monkeypatch.setattr(trial, '_SLOW', 10**9)
    beside = tmp_path / '.run_plan'
    beside.mkdir()
    with torch.no_grad():
        student.body[4].weight[:, ::2] = 0
    epochs = dict(TINY, epochs=5)
    torch.set_default_device('meta')
    try:
        call(teacher, student, budget=3, plan_only=True, schedule=epochs)
        assert torch.empty(0).is_meta
    finally:
        torch.set_default_device(None)
    assert [path.name for path in tmp_path.iterdir()] == [beside.name]
    # Rounds of both kinds are timed, which is said before.
    assert timed[-2:] == [(False, 10), (True, 10)]
    told = capsys.readouterr().out
    order = 'trial: some rounds', '  the first steps took', 'plan: '
    places = [told.find(text) for text in order]
    assert places == sorted(places) and places[0] > 0
    # What will not be as it is given.
    assert '% of the weights of the student are 0, as if single' in told
    assert 'WARNING: epochs of schedule does nothing, since budget' in told
    assert 'many weights as' not in told


def test_a_run_does_not_depend_on_whether_networks_have_names(
    teacher, net, call, tmp_path
):
    """What a config builds draws weights, and what is lent does not."""
    found = []
    start = state(net(4))
    for number in range(2):
        networks = dict(teacher=deepcopy(teacher), student=net(4))
        networks['student'].load_state_dict(start)
        for each in networks.values() if number else ():
            each.known_to = object()
        folder = tmp_path / f'{number}'
        run = call(*networks.values(), val=None, work_dir=folder)
        text = (folder / 'config.py').read_text()
        names = [f'lent:{name}' in text for name in networks]
        assert names == [bool(number)] * 2
        # Of those alone that the tools can run.
        assert ('The same weights, without Python' in text) != bool(number)
        found.append(state(run.student))
    assert equal(*found) and not equal(found[0], start)


MEANS = dict(right=([0.4], [0.3]), rounded=([0.402], [0.301]))
MEANS.update(wrong=([0.5], [0.3]), none=(None, None))


@pytest.mark.parametrize('kind', MEANS)
@pytest.mark.parametrize('way', ['registry', 'get_model', 'file'])
def test_mean_and_std_of_a_teacher_of_mmpretrain(
    net, call, tmp_path, kind, way
):
    mean, std = MEANS[kind]
    cfg = network(num_classes=3)
    cfg['data_preprocessor'] = dict(mean=[102.0], std=[76.5])
    cfg.pop('_scope_', None)
    (tmp_path / 'config.py').write_text(f'model = {cfg!r}')
    code = (
        'from mmengine.registry import DefaultScope\n'
        'from mmpretrain.registry import MODELS\n'
        'def make():\n'
        "    with DefaultScope.overwrite_default_scope('mmpretrain'):\n"
        f'        return MODELS.build({cfg!r})\n'
    )
    (tmp_path / 'own_mmpretrain.py').write_text(code)
    teacher = f'{tmp_path / "own_mmpretrain.py"}:make'
    if way == 'registry':
        teacher = import_object(teacher)()
    elif way == 'get_model':
        path = str(tmp_path / 'config.py')
        teacher = mmpretrain.get_model(path, pretrained=False)
    arguments = dict(mean=mean, std=std, val=None, plan_only=True)
    if kind in ('right', 'rounded'):
        call(teacher, net(4), image_shape=(1, 8, 8), **arguments)
        return
    with pytest.raises(
        ValueError,
        match=r'normalises images in 0..1 by mean=.0\.4. and std=.0\.3., but',
    ):
        call(teacher, net(4), image_shape=(1, 8, 8), **arguments)


class NormalisesInside(nn.Module):
    """As MMEngine does in ``val_step()``, but in each pass."""

    def __init__(self):
        super().__init__()
        self.data_preprocessor = ImgDataPreprocessor([102.0], [76.5])
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.data_preprocessor(dict(inputs=255 * x))['inputs']
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


def test_a_teacher_that_calls_its_own_preprocessor(net, call):
    arguments = dict(mean=None, std=None, val=None, plan_only=True)
    assert call(NormalisesInside(), net(4), **arguments).schedule.images


def test_a_student_that_insists_on_versions_of_layers(teacher, call):
    student = torchvision.models.MNASNet(0.1, num_classes=3)
    student.layers[0] = nn.Conv2d(1, 8, 3, stride=2, padding=1, bias=False)
    run = call(teacher, student, val=None)
    exported = torch.load(run.work_dir / 'student' / 'student.pth')
    assert equal(state(run.student), exported)


def test_a_plan_of_networks_that_share_weights(teacher, net, call, tmp_path):
    student = net(16)
    student.body = teacher.body
    before = state(student)
    torch.save(net(16).state_dict(), tmp_path / 's.pth')
    weights = str(tmp_path / 's.pth')
    message = r'student and teacher share weights \(body\.'
    with pytest.raises(ValueError, match=message):
        call(
            *(teacher, student),
            plan_only=True,
            val=None,
            student_weights=weights,
        )
    assert equal(state(student), before)


def test_what_a_plan_says_of_the_disk(teacher, net, call, tmp_path):
    """It is about what a run leaves, and the student stays as it is."""
    student, other = net(4), net(4)
    before = deepcopy(student.state_dict())
    torch.save(other.state_dict(), tmp_path / 'other.pth')
    arguments = dict(val=None, keep_targets=True)
    plan = call(
        teacher,
        student,
        plan_only=True,
        student_weights=str(tmp_path / 'other.pth'),
        **arguments,
    )
    for key, value in student.state_dict().items():
        assert torch.equal(value, before[key]), key
    run = call(teacher, student, **arguments)
    assert run.plan.disk == pytest.approx(plan.disk, rel=0.1)
    bank = tmp_path / 'run/bank'
    found = sum(p.stat().st_size for p in bank.iterdir())
    weights = max(p.stat().st_size for p in bank.parent.glob('epoch_*.pth'))
    assert 0.5 * found < plan.disk - 3 * weights < 2 * found


def test_a_student_that_is_not_smaller(
    teacher, net, call, capsys, monkeypatch
):
    few = 'csd_mmrazor.api.call.warning_of_few_steps'
    monkeypatch.setattr(few, lambda plan, row: 'WARNING: budget=3 is little')
    with typed_as(as_options):  # as the command does
        call(teacher, net(16), budget=3, plan_only=True)
    told = capsys.readouterr().out
    assert '  it has as many weights as the teacher' in told
    # Said of random weights alone.
    assert told.rstrip().endswith('WARNING: --budget 3 is little')
    assert 'swapped' not in told
    few = 'csd_mmrazor.api.call.warning_of_few_images'
    monkeypatch.setattr(few, lambda *numbers: f'few: {numbers}')
    plan = call(teacher, net(32), budget=3, plan_only=True)
    told = capsys.readouterr().out
    assert f'few: ({plan.schedule.images}, 3)' in told
    assert 'WARNING: the student has more weights than the teacher' in told


def test_an_export_that_fails(teacher, net, call, monkeypatch):
    """The run ends well, and says so."""
    from csd_mmrazor.export import student as module

    def write_files(files):
        if '.trial' not in str(files):
            raise OSError(28, 'No space left on device')
        write(files)

    write = module.write_files
    monkeypatch.setattr(module, 'write_files', write_files)
    run = call(teacher, net(4), budget=3)
    assert any('could not be exported' in text for text in run.warnings)
    assert not (run.work_dir / 'student/student.pth').exists()
    # The same call tries again.
    monkeypatch.undo()
    again = call(teacher, net(4), budget=3)
    failed = {t for t in run.warnings if 'could not be exported' in t}
    assert {*again.warnings} == {*run.warnings} - failed
    saved = torch.load(run.work_dir / 'student/student.pth', weights_only=True)
    assert equal(saved, state(run.student))


def test_a_stopped_run_continues(finished, teacher, net, call, monkeypatch):
    """Stopped between epochs; the same weights in the end."""
    from mmengine.runner import EpochBasedTrainLoop

    torch.manual_seed(1)
    student = net(4)
    student.load_state_dict(finished['weights']['student'])
    run_epoch = EpochBasedTrainLoop.run_epoch

    def stop(loop):
        # The trial has one epoch.
        if loop.max_epochs == 2 and loop.epoch == 1:
            raise KeyboardInterrupt
        run_epoch(loop)

    monkeypatch.setattr(EpochBasedTrainLoop, 'run_epoch', stop)
    with pytest.raises(KeyboardInterrupt):
        call(teacher, student)
    assert equal(state(student), finished['weights']['student'])
    monkeypatch.undo()
    # Now its body is wrapped, and keeps its own names.
    student = net(4)
    student.body = torch.nn.DataParallel(student.body)
    run = call(torch.nn.DataParallel(teacher), student)
    assert run.student is student and not student.training
    expected = {
        k.replace('body.', 'body.module.'): v
        for k, v in state(finished['run'].student).items()
    }
    assert equal(state(student), expected)
    assert run.top1 == finished['run'].top1


def test_networks_by_name(home, net, call, tmp_path, monkeypatch):
    """The same weights as live ones have, if they start from the same."""
    torch.save(net(4).state_dict(), tmp_path / 's.pth')
    name = str(home / 'tiny_net_of_a_user.py')
    # By itself, it has ten classes.
    (tmp_path / 'ten.py').write_text(
        f'from {Path(name).stem} import Net as Three\n\n'
        'class Net(Three):\n'
        '    def __init__(self, width=8, num_classes=10):\n'
        '        super().__init__(width, num_classes)\n'
    )
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    url = 'https://me@host/t.pth?Signature=secret'
    place = cache_place(url)
    place.parent.mkdir(parents=True)
    shutil.copy(home / 't.pth', place)
    options = dict(
        teacher_args=dict(width=16),
        teacher_weights=url,
        student_args=dict(width=4),
        student_weights=str(tmp_path / 's.pth'),
    )
    run = call(f'{name}:make', f'{tmp_path}/ten.py:Net', **options)
    assert run.student.width == 4 and run.teacher_top1 > 80
    card = run.work_dir / 'student/README.md'
    assert 'weights `t.pth`' in card.read_text()
    assert not any(
        'secret' in path.read_text()
        for path in (card, run.report, card.with_name('student.json'))
    )


def test_a_config_of_a_model(teacher, call, tmp_path, monkeypatch):
    """mmpretrain's, with a part beside it; exported as one of mmpretrain."""
    (tmp_path / 'parts_of_a_user.py').write_text(
        'from mmpretrain.models import ResNet_CIFAR\n'
        'from mmpretrain.registry import MODELS\n\n'
        '@MODELS.register_module()\n'
        'class BackboneOfAUser(ResNet_CIFAR):\n'
        '    pass\n'
    )
    (tmp_path / 'losses_of_a_user.py').write_text('')
    model = network(num_classes=3, type='BackboneOfAUser')
    model.pop('_scope_')
    imports = ['parts_of_a_user', 'losses_of_a_user']
    (tmp_path / 'model.py').write_text(
        f'custom_imports = dict(imports={imports})\nmodel = {model!r}'
    )
    run = call(teacher, str(tmp_path / 'model.py'), budget=3)
    assert type(run.student).__name__ == 'ImageClassifier'
    assert (run.work_dir / 'student/student_mmpretrain.pth').is_file()
    # Others that build the student import its part as well.
    alone = Config.fromfile(
        run.work_dir / 'student/student.py', import_custom_modules=False
    )
    assert alone.custom_imports.imports == ['parts_of_a_user']
    kept = read_run_config(run.config).custom_imports.imports
    assert kept == ['csd_mmrazor', *imports]
    monkeypatch.delitem(sys.modules, 'parts_of_a_user')
    with pytest.raises(ImportError, match='parts_of_a_user.* on PYTHONPATH'):
        read_run_config(run.config)
    weights = torch.load(
        run.work_dir / 'student/student.pth', weights_only=True
    )
    assert equal(weights, state(run.student))


INNER = """
import torch


class Inner(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.body = torch.nn.Conv2d(1, 3, 3)
        self.factor = factor
        # MMEngine takes the mean of each parameter.
        order = torch.tensor([2, 0, 1])
        self.order = torch.nn.Parameter(order, requires_grad=False)

    def forward(self, x):
        return self.body(x).mean((2, 3))[:, self.order] * self.factor


def make():
    return Inner(2.0)
"""


def test_a_class_of_the_program_itself(
    home, teacher, call, forked, tmp_path, capsys
):
    """It is trained; its config says why it cannot be made again."""

    program = {}
    exec(INNER, program)

    class Inner(program['Inner']):
        pass

    pytest.importorskip('onnxruntime')
    run = call(teacher, Inner(2.0), budget=4, onnx=True, program=True)
    for name in ('student.onnx', 'student.pt2'):
        assert (run.work_dir / 'student' / name).is_file()
    # What this program can, as docs/quantize.md has it.
    with lend(student=run.student):
        quantize(parse_args([str(run.work_dir), '--to', 'int8']))
    assert (run.work_dir / 'quantized/student_int8.onnx').is_file()
    for shared in (False, True):
        # The pictures of val, and their negatives.
        other = tmp_path / f'{shared}'
        shutil.copytree(home / 'val', other)
        for path in () if shared else other.glob('*/*.png'):
            Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
        options = [f'--calibrate-on={other}', '--to=int8', '--test']
        capsys.readouterr()
        with lend(student=run.student):
            told = quantize(parse_args([str(run.work_dir), *options]))
        assert told['tested_calibrated_it'] is shared
        card = (run.work_dir / 'quantized/README.md').read_text()
        for text in (capsys.readouterr().out, card):
            assert (CALIBRATED in text) == shared
    assert run.student.factor == 2
    assert run.student.order.tolist() == [2, 0, 1]
    text = run.config.read_text()
    assert 'within another' in text and 'lent:student' in text
    done = forked(run.config, '--work-dir', run.work_dir / 'again')
    assert done.status != [0]
    assert 'first lines of that config.py say why. Replace' in done.stderr
    # With a function that makes it, the tools can build it.
    (tmp_path / 'inner.py').write_text(INNER)
    done = forked(
        *(run.work_dir, '--cfg-options'),
        'model.architecture.factory=inner.py:make',
        tool='test.py',
    )
    assert done.status == [0], done.output[-2000:]
    found = re.search(r'top1: ([\d.]+)', done.output)[1]
    assert float(found) == pytest.approx(run.top1, abs=0.01)


@pytest.mark.parametrize(
    'arguments, method',
    [
        ((60.0, 'auto', None, None), 'plain'),
        ((100, 'auto', dict(bn=2.0), dict(batch=64)), 'plain'),
        (('paper', 'auto', None, None), 'csd'),
        ((60.0, 'flip', None, None), 'csd'),
        ((60.0, 'auto', dict(csd=3.0), None), 'csd'),
        ((60.0, 'auto', None, dict(csd=3.0)), 'csd'),
    ],
)
def test_the_method_that_is_meant(arguments, method):
    assert method_of(None, *arguments) == method


@pytest.mark.parametrize(
    'arguments',
    [
        *(dict(method=m) for m in ('fast', 'cmi', 'deepinversion')),
        dict(
            method='plain',
            image_shape=(1, 9, 22),
            # Numbers and texts as NumPy has them.
            loss_weights=dict(adv=np.float32(1), bn=0, kd=0, feature=2),
            augment=dict(padding=np.int64(1)),
            seed=np.int64(0),
            schedule=dict(TINY, batch=np.int64(8)),
            classes=[*np.array(['a', 'b', 'c'])],
        ),
        dict(
            loss_weights=dict(ce=0, csd=1),
            aux_task='flip',
            augment=None,
            amp='bfloat16',
        ),
    ],
    ids=repr,
)
def test_other_ways(arguments, teacher, net, call, tmp_path):
    """All run, and the report is there."""
    student = net(4)
    before = state(student)
    run = call(teacher, student, budget=3, val=None, **arguments)
    assert not equal(state(student), before)
    assert all(v.isfinite().all() for v in student.parameters())
    assert run.report == tmp_path.resolve() / 'run/report.html'


@pytest.mark.parametrize('feature, padding', [(0, 1), (1, 0)])
def test_what_the_teacher_says_is_kept(feature, padding, teacher, net, call):
    """No step of the student asks the teacher then."""
    run = call(
        *(teacher, net(4)),
        val=None,
        budget=3,
        keep_targets=True,
        augment=dict(padding=padding, flip_prob=0),
        loss_weights=dict(feature=feature),
    )
    cfg = Config.fromfile(run.config)
    hook = cfg.default_hooks.synthesis
    views = 4 if padding else 1  # which would all be the same
    assert (hook.target_views, hook.target_maps) == (views, bool(feature))
    bank = BankFolder(run.work_dir / 'bank')
    assert bank.target_kind.views == views
    assert len(bank.targets) == len(bank.shards) > 0


def test_what_is_compiled(teacher, net, call):
    arguments = dict(budget=3, val=None, plan_only=True)
    made = []

    def build(**synthesizer):
        made.append(synthesizer)
        raise StopIteration

    with pytest.MonkeyPatch.context() as patch:
        # As on a machine with a GPU.
        patch.setattr('csd_mmrazor.api.call.device_of', lambda name: 'cuda')
        patch.setattr('csd_mmrazor.api.call.isolated', lambda _: nullcontext())
        patch.setattr(
            'csd_mmrazor.api.call.run_trial',
            lambda cfg, *_: build(**cfg['default_hooks']['synthesis']),
        )
        for given in (dict(), dict(compile=True, graph=True)):
            with pytest.raises(StopIteration):
                call(teacher, net(4), **arguments, **given)
    plain, fast = (each['synthesizer'] for each in made)
    assert fast == dict(plain, compile=True, graph=True)


def test_a_bank_to_start_with(finished, teacher, net, call, capsys):
    bank = finished['run'].work_dir / 'bank'
    run = call(teacher, net(4), budget=3, init_bank=bank)
    log = next(run.work_dir.glob('*/*.log')).read_text()
    assert 'imported images' in log and 'an earlier start' not in log
    # Whose time is told in place of rounds, of which there are none.
    assert run.plan.schedule.init_rounds == 0 < run.plan.timings.imported
    assert ' a round, and those to start with; ' in capsys.readouterr().out
    before, after = (
        BankFolder(folder) for folder in (bank, run.work_dir / 'bank')
    )
    assert len(after.shards) >= len(before.shards)


def test_foreign_images_to_start_with(teacher, net, call, tmp_path):
    """They lie in any folders, and the teacher labels them."""
    rng, root = np.random.default_rng(0), tmp_path / 'foreign'
    (root / 'a/b').mkdir(parents=True)
    for place in range(20):
        image = rng.integers(0, 256, (12, 12), np.uint8)
        Image.fromarray(image).save(root / f'a/b/{place:02}.png')
    run = call(
        *(teacher, net(4)),
        budget=3,
        init_bank=root,
        init_labels='teacher',
        teacher_license='cc-by-4.0',
    )
    front, _ = front_of(run.work_dir / 'student/README.md')
    assert front['license'] == 'cc-by-4.0'
    bank = BankFolder(run.work_dir / 'bank')
    images, labels = bank.read(bank.shards[0])
    assert len(images) == 20
    inputs = (torch.from_numpy(images / 255.0).float() - 0.4) / 0.3
    with torch.no_grad():
        expected = teacher.eval()(inputs).argmax(1)
    assert labels.tolist() == expected.tolist()


def test_val_is_not_trained_on(teacher, net, call, home, tmp_path):
    copies = tmp_path / 'copies'
    shutil.copytree(home / 'val', copies)
    for folder in (home / 'val', copies):
        with pytest.raises(ValueError, match=r'^About 100 % .*val=.*bank='):
            call(teacher, net(4), init_bank=folder)
    # A picture may be in both parts of a data set.
    pictures = sorted(copies.glob('*/*.png'))
    for place, path in enumerate(pictures[1:]):
        image = np.full((12, 12), place % 256, np.uint8)
        Image.fromarray(image).save(path)
    val = home / 'val'
    assert check_val_is_apart(val, copies).startswith('WARNING: some pict')
    pictures[0].unlink()
    assert not check_val_is_apart(val, copies)
    # Of a few pictures, all are.
    shutil.rmtree(copies)
    (copies / '0').mkdir(parents=True)
    shutil.copy(next(val.glob('*/*.png')), copies / '0/a.png')
    with pytest.raises(ValueError, match=r'^About 100 % .*init_bank=.*val='):
        check_val_is_apart(val, copies)
    shutil.copy(copies / '0/a.png', copies / '0/b.png')
    pictures = sorted(copies.glob('*/*.png'))
    assert share_among(pictures[:2], pictures) == 1


def test_a_method_that_needs_bn_layers(teacher, call):
    layers = nn.Flatten(), nn.Linear(144, 3)
    with pytest.raises(ValueError, match="method='cmi' .*loss_weights=dict"):
        call(nn.Sequential(*layers), teacher, method='cmi')


@pytest.mark.parametrize('with_val', [False, True])
def test_names_of_classes_reach_the_bank(
    with_val, teacher, net, call, tmp_path
):
    """Where nothing else of the run has them, too."""
    names, root = ['zero', 'one', 'two'], tmp_path / 'named'
    images = []
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        image = np.full((12, 12), label, np.uint8)
        Image.fromarray(image).save(root / name / 'a.png')
        images.append((torch.full((1, 12, 12), label / 3), label))
    run = call(
        *(teacher, net(4)),
        budget=3,
        classes=names,
        init_bank=root,
        val=images if with_val else None,
    )
    bank = BankFolder(run.work_dir / 'bank')
    assert bank.classes == names
    images, labels = bank.read(bank.shards[0])
    # Each image says which it is.
    assert labels.tolist() == images[:, 0, 0, 0].tolist() == [1, 2, 0]
    described = json.loads((run.work_dir / 'student/student.json').read_text())
    assert described['classes'] == names
    card = (run.work_dir / 'student/README.md').read_text()
    assert '- The student started from random weights\n' in card
    # A warning of the log, which a call that finds the run done gives too.
    (told,) = (w for w in run.warnings if 'images for another class' in w)
    record = json.loads((run.work_dir / 'distill.json').read_text())
    assert told.startswith('The teacher takes 2 of 3 imported images')
    assert record['warnings'].count(told) == 1
    assert len({*run.warnings}) == len(run.warnings)


def test_validation_in_another_order_of_classes_is_refused(teacher, net, call):
    class Named(list):
        classes = ['a', 'c', 'b']

    val = Named([(torch.zeros(1, 12, 12), 0)])
    message = "'c' has the label 1 in val, .* is number 2 of classes, a, b"
    with pytest.raises(ValueError, match=message):
        call(teacher, net(4), val=val, classes=['a', 'b', 'c'])


def test_a_teacher_without_bn_layers(net, call, capsys):
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 3))
    student, weights = net(4), dict(feature=1)
    student.fc.register_forward_hook(lambda *_: None)
    schedule = dict(TINY, feature=1)
    run = call(
        *(plain, student),
        **dict(budget=3, val=None, loss_weights=weights, schedule=schedule),
    )
    # No config can make either, which is told of each, and once what it means.
    for text in (run.config.read_text(), capsys.readouterr().out):
        assert text.count('cannot be made from the config alone') == 2
        assert text.count('Its config.py is for reading') == 1
    # Nor maps.
    for told in (
        'no BN layers',
        'feature of loss_weights does nothing',
        'feature of schedule does nothing',
    ):
        assert any(told in text for text in run.warnings)
    # It has no other norm layers either.
    logged = next(run.work_dir.glob('*/*.log')).read_text()
    assert 'In place of that term: loss_tv.' in logged
    card = (run.work_dir / 'student/README.md').read_text()
    assert 'TotalVariationLoss' in card and 'BNStatisticsLoss' not in card


def test_a_prior_of_weight_0_stays_out(net, call, capsys):
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 3))
    for weights in ({}, dict(tv=0)):
        run = call(
            *(plain, net(4)),
            val=None,
            budget=3,
            method='deepinversion',
            loss_weights=weights,
        )
        shutil.rmtree(run.work_dir)
        out = capsys.readouterr().out
        assert 'loss_l2' in out
        assert ('loss_tv' in out) == (not weights)


class Matrix(nn.Module):
    """Stands for layers of one's own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))


def test_a_student_without_bn_layers(teacher, net, call, capsys):
    """It diverges at the rate of others, unless gradients are clipped."""
    assert is_normalised(net(4))
    assert not is_normalised(torch.nn.Sequential(net(4), net(3).fc))
    # Nor layers that are no Linear.
    for layer in (nn.LSTM(3, 4), nn.MultiheadAttention(4, 2), Matrix()):
        assert not is_normalised(nn.Sequential(layer, nn.Linear(4, 3)))
    torch.manual_seed(0)
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(600, 3),
    )
    run = call(teacher, plain, budget=3, val=None)
    cfg = Config.fromfile(run.config).optim_wrapper
    assert cfg.architecture.clip_grad == dict(max_norm=5)
    shown = capsys.readouterr()
    assert 'it has no BN, so its gradients are clipped' in shown.out
    # The rest is in the log.
    (log,) = run.work_dir.glob('*/*.log')
    assert f'log: {log}' in shown.out
    for text in ('System environment', 'Config:', 'Hooks will be executed'):
        assert text in log.read_text()
        assert text not in shown.out + shown.err
    assert 'mmengine - INFO - initial: loss_bn' in shown.out


def test_students_with_bn_layers_are_not_clipped(finished):
    cfg = Config.fromfile(finished['run'].config).optim_wrapper
    assert 'clip_grad' not in cfg.architecture


@pytest.mark.parametrize(
    'arguments, is_clipped',
    [
        ({}, True),
        (dict(loss_weights=dict(feature=0)), False),
        (dict(schedule=dict(TINY, warm=False)), False),  # as in the paper
    ],
)
def test_steps_with_feature_maps_are_clipped(
    arguments, is_clipped, teacher, net, call
):
    """As they are with images in colour; their loss may diverge at once."""
    pair = [
        torch.nn.Sequential(
            torch.nn.Conv2d(3, 1, 1), torch.nn.BatchNorm2d(1), network
        ).eval()
        for network in (teacher, net(4))
    ]
    arguments = dict(arguments, image_shape=(3, 12, 12), mean=None, std=None)
    run = call(*pair, val=None, budget=3, **arguments)
    cfg = Config.fromfile(run.config)
    with_maps = 'loss_feature' in cfg.model.distiller.distill_losses
    assert with_maps == ('loss_weights' not in arguments)
    assert ('clip_grad' in cfg.optim_wrapper.architecture) == is_clipped


@pytest.mark.parametrize(
    'given, image_shape, padding, flip_prob',
    [
        ('auto', (1, 28, 28), 2, 0),
        (dict(padding=1), (1, 28, 28), 1, 0),
        (dict(flip_prob=0), (3, 4, 6), 0, 0),
        (dict(padding=3), (3, 32, 32), 3, 0.5),
    ],
)
def test_augmentation(given, image_shape, padding, flip_prob):
    """What is left out is as by itself."""
    assert augmentation(given, image_shape) == dict(
        type='RandomCropFlip', padding=padding, flip_prob=flip_prob
    )


@pytest.mark.parametrize(
    'augment, shift',
    [
        ('auto', 1),  # of images that are small, as padding would be 0
        (dict(padding=1), 1),
        (dict(padding=4), 2),
        (dict(padding=0, flip_prob=0.5), 0),
    ],
)
def test_shifts_of_deepinversion(augment, shift, teacher, net, call):
    run = call(
        *(teacher, net(4)),
        val=None,
        budget=3,
        method='deepinversion',
        augment=augment,
    )
    cfg = Config.fromfile(run.config)
    found = cfg.default_hooks.synthesis.synthesizer.augment
    assert (found.type, found.shift) == ('RandomRoll', shift)
    assert cfg.model.data_preprocessor.augment.padding == (
        0 if augment == 'auto' else augment['padding']
    )


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(image_shape=(28, 28)), 'image_shape should be .channels'),
        (dict(mean=None), 'give both, or none'),
        (dict(mean=[0.4], std=[70.0]), 'different scales'),
        (dict(mean=[110], std=[0.3]), 'different scales'),
        (dict(std=[0.0]), 'std should be above 0'),
        (dict(std=[1e-30]), 'std=.1e-30. cannot be right'),
        (dict(std=1e30, mean=1e30), r'std=1e\+30 cannot be right'),
        (dict(std=60, mean=300), 'mean=300 cannot be right'),
        (
            dict(budget=3, loss_weights=dict(bn=1e38)),
            'Two steps .* failed: check teacher, mean.* NaN.* Lower loss'
            r'_weights=dict\(bn=\.\.\.\)\.$',
        ),
        (dict(mean=[0.4, 0.4]), 'mean should be one number, but got'),
        (dict(budget='soon'), 'budget should be a time'),
        (dict(budget=0), 'budget should be a time'),
        (dict(budget=2.5), 'budget should be a time'),
        (dict(val='nowhere'), "val='nowhere' is not a folder"),
        (dict(val=iter([])), 'val is a list_iterator'),
        (dict(method='dafl'), 'method should be one of csd'),
        (dict(method='plane'), "mean 'plain'"),
        (dict(aux_task='rotations'), "mean 'rotation'"),
        (dict(method='plain', aux_task='flip'), "'flip' would do nothing"),
        (
            dict(method='fast', schedule=dict(csd=1)),
            "'csd' of schedule would do nothing with method='fast'",
        ),
        (dict(loss_weights=dict(bm=1)), "loss_weights has no 'bm'"),
        (dict(loss_weights=dict(fature=1)), "mean 'feature'"),
        (dict(loss_weights=dict(bn=-1)), "'bn'.* should be a number, 0"),
        (dict(loss_weights=dict(kd=float('inf'))), "'kd'.* should be a numb"),
        (
            dict(loss_weights=dict(oh=0, bn=0, csd=0)),
            'loss_weights=.* all losses of the images',
        ),
        # Of grey images, no feature is compared.
        (dict(loss_weights=dict(ce=0, kd=0)), 'all losses of the student'),
        (dict(aux_task='channels'), "aux_task='channels' does not fit"),
        (dict(aux_task='jigsaw'), "aux_task='jigsaw' is none"),
        (dict(augment='flip'), 'augment should be "auto"'),
        (dict(augment=dict(flip=0)), "mean 'flip_prob'"),
        (
            dict(augment=dict(padding='two')),
            "augment=.'padding': 'two'.: padding of Rand.* got 'two'",
        ),
        (
            dict(teacher_weights=dict.fromkeys(range(100), 'w')),
            r'teacher_weights of distill should be .{,40} got {.{199}\.$',
        ),
        (
            dict(augment=dict(padding='4'), method='deepinversion'),
            "padding of RandomCropFlip should be an integer.* got '4'",
        ),
        (dict(augment=dict(padding=12)), 'augment has padding=12, but .*12x'),
        (dict(schedule=dict(learning_rate=0.1)), "mean 'lr'"),
        (dict(loss_weights=dict(batchnorm=1)), "mean 'bn'"),
        (dict(classes=4), 'classes has 4, but the teacher tells 3 apart'),
        *(
            (dict(classes=classes), 'classes should be a number')
            for classes in (
                ['a', 'a', 'b'],
                {'a', 'b', 'c'},  # has no order
                (name for name in 'abc'),
                [['a'], ['b'], ['c']],
                'abc',
                3.0,
            )
        ),
        (dict(classes=True), 'classes should be an integer'),
        (
            dict(classes=['a\r', 'b\r', 'c\r']),
            r"without control characters, but got 'a\\r'.*splitlines",
        ),
        (dict(classes=10**9), 'classes should be 10,000,000 at most'),
        (dict(image_shape=(1, 10**6, 10**6)), 'image_shape=.* has more than'),
        (dict(mean=10**400), 'mean should be one number'),
        *(
            (
                dict(schedule={name: value}),
                f"schedule.'{name}'. should be .*(at most|above 0), but got",
            )
            for name, value in (
                ('batch', 10**9),
                ('synthesis_batch', 10**30),
                ('hidden_channels', 10**9),
                ('iters', 10**12),
                ('tau', 1e308),
                ('lr', 10**400),
            )
        ),
        (dict(classes=np.int64(4)), 'classes has 4, but the teacher'),
        (dict(val=''), "val='' is not a folder"),
        (dict(val={'a': 1}), 'val should be a folder, .* but got a dict'),
        (dict(budget='0.01s'), 'budget is too little: of its 0.01 s'),
        (dict(schedule=dict(batches=1)), "has no 'batches'.* mean 'batch'"),
        (dict(schedule=dict(batch=0)), "schedule.'batch'. should be"),
        *(
            (dict(schedule=dict([pair])), f"schedule.'{pair[0]}'. should be")
            for pair in (
                ('schedule', 'linear'),
                ('warm', 'no'),
                ('lr', 0),
                ('lr', '0.1'),
                ('tau', 0),
                ('feature', -1),
                ('csd', float('nan')),
                ('epochs', True),
            )
        ),
        *(
            (arguments, f'{[*arguments][0]} of distill should be')
            for arguments in (
                dict(schedule=[8]),
                dict(loss_weights='kd'),
                dict(loss_weights=[('kd', 1)]),
                dict(method=['csd']),
                dict(aux_task=None),
                dict(teacher_feature=3),
                dict(student_pooled=3),
                dict(teacher_args='width=3'),
                dict(teacher_weights=3),
                dict(init_bank=3),
                dict(init_labels=3),
                dict(seed='0'),
                dict(teacher_license=['mit']),
                dict(device=0),
                dict(plan_only='no'),
            )
        ),
        (dict(work_dir=''), 'work_dir should be a folder'),
        (dict(work_dir=None), 'work_dir should be a folder'),
        (dict(work_dir='/dev/null/a'), 'written to: choose another work_dir:'),
        (dict(mean=float('inf')), 'mean should be one number'),
        (dict(seed=2**32), 'seed should be below'),
        (dict(seed=-1), 'seed should be'),
        (dict(device='tpu'), 'device should be "cpu" or "cuda"'),
        (dict(amp='int8'), 'amp should be None'),
        (dict(amp='float16'), 'amp="float16" is for GPUs, .* "bfloat16"'),
        (dict(teacher_feature='bodi'), 'Did you mean body'),
        (dict(student_feature='fc'), "student_feature='fc' returns the log"),
        (dict(student_pooled='x'), 'student_pooled.*no module'),
        (dict(teacher_args=dict(width=3)), 'teacher_args.* made already'),
        (
            dict(student_args={'norms': [{'class': 1}]}),
            'student_args.norms.0.class: "class" is a Python keyword',
        ),
        (dict(teacher_weights='no.pth'), 'teacher_weights=no.pth'),
        (dict(init_bank='nowhere'), 'init_bank'),
        (dict(init_bank=''), "init_bank of ImageBank .* got ''"),
        (dict(teacher_weights='net.pt2'), 'teacher_weights=net.pt2 is a pr'),
        (dict(student_weights='net.onnx'), 'student_weights=net.onnx is a'),
        (dict(init_labels='teacher'), 'init_labels="teacher"'),
        (dict(init_labels='x'), 'init_labels'),
        (dict(keep_targets=1), 'keep_targets of distill'),
        (
            dict(keep_targets=True, loss_weights=dict(kd=0, feature=0)),
            'keep_targets=True keeps .* no loss of the student',
        ),
        (
            dict(keep_targets=True, augment=None),
            'keep_targets=True keeps .* augment=None makes none',
        ),
        (
            dict(budget=5, schedule=dict(TINY, schedule='one-cycle')),
            'one-cycle.* is for 10 student steps or more, but here are 5',
        ),
        (dict(compile='fast', budget=9), 'compile of distill'),
        (dict(compile=True, budget='1min'), "budget='1min', a time, cannot"),
        (dict(graph=True), 'graph=True replays steps on a GPU'),
        (dict(graph='yes'), 'graph of distill'),
        (dict(teacher_license=' '), 'teacher_license should be one line'),
        (
            dict(image_shape=(3, 12, 12), mean=0.4, std=0.3),
            'teacher does not take .*, body.0, takes 1 channel: image_shape=',
        ),
    ],
)
def test_wrong_arguments(arguments, message, teacher, net, call, tmp_path):
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        call(teacher, net(4), **arguments)
    assert not (tmp_path / 'run' / 'bank').exists()


@pytest.mark.parametrize('role', ['teacher', 'student'])
def test_networks_that_make_layers_late(role, teacher, net, call):
    class Late(net):
        def forward(self, x):
            logits = super().forward(x)
            if not hasattr(self, 'late'):
                self.late = torch.nn.Linear(3, 3)
            return self.late(logits)

    networks = dict(dict(teacher=teacher, student=net(4)), **{role: Late(4)})
    with pytest.raises(ValueError, match=f'{role} makes weights .*late.wei'):
        call(**networks)


@pytest.mark.parametrize(
    'takes, message',
    [
        (
            lambda n: n > 1,
            'The export .* failed, with 1 image: .* batch of one',
        ),
        (lambda n: n < 8, 'Two steps of synthesis .* in the student, with 8 '),
    ],
)
def test_students_of_some_batches(takes, message, teacher, net, call):
    class Some(net):
        def forward(self, x):
            if not takes(len(x)):
                raise ValueError('so many')
            return super().forward(x)

    with pytest.raises(ValueError, match=message) as caught:
        call(teacher, Some(4), budget=3, val=None)
    assert 'check student. ValueError: so many' in str(caught.value)
    assert 'rehearsal' not in str(caught.value)


@pytest.mark.parametrize(
    'kind, init_labels, message',
    [
        ('empty', 'folders', 'There are no images'),
        ('no pictures', 'teacher', 'There are no images'),
        ('work dir', 'folders', r'the work dir of a run, .* give .*/bank\.'),
        ('work dir', 'teacher', r'the work dir of a run, .* give .*/bank\.'),
        ('other size', 'teacher', '9x9 pixels, but .* of 12x12'),
        ('one class', 'folders', 'has images of 1 class, but'),
        ('other shape', 'folders', r'image_shape=\[1, 9, 9\], but'),
        ('other classes', 'folders', 'num_classes=7, but'),
        ('damaged', 'folders', 'manifest.json, cannot be used'),
    ],
)
def test_images_to_start_with_that_do_not_fit(
    kind, init_labels, message, teacher, net, call, tmp_path, monkeypatch
):
    """They are refused before anything is tried."""
    monkeypatch.setattr('csd_mmrazor.api.call.run_trial', None)
    root = tmp_path / 'start'
    (root / '0').mkdir(parents=True)
    bank = root / 'bank' if kind == 'work dir' else root
    if kind in ('work dir', 'other shape', 'other classes', 'damaged'):
        shape = (1, 9, 9) if kind == 'other shape' else (1, 12, 12)
        BankFolder(bank, shape, 7 if kind == 'other classes' else 10).append(
            np.zeros((2, *shape), np.uint8), np.zeros(2, int), 0, 0, True
        )
    if kind == 'damaged':
        (bank / 'manifest.json').write_text('{')
    elif kind == 'no pictures':
        (root / '0/notes.txt').write_text('none')
    elif kind in ('other size', 'one class'):
        Image.new('L', (9, 9)).save(root / '0/a.png')
    with pytest.raises((BankError, OSError, ValueError)) as caught:
        call(
            *(teacher, net(4)),
            val=None,
            init_bank=str(root),
            init_labels=init_labels,
        )
    assert re.search(message, str(caught.value)), caught.value
    assert f"init_bank='{root}'" in str(caught.value)


@pytest.mark.parametrize(
    'networks, message',
    [
        ((3, None), 'teacher should be a torch.nn.Module .* got a int'),
        (
            (OrderedDict(w=torch.ones(1)), None),
            'got a OrderedDict, such as a file .* that file by teacher_weig',
        ),
        ((None, dict(type='ResNet')), 'write it to a config file'),
        ((dict(net=torch.nn.Linear(1, 1)), None), "has one: give its 'net'"),
        ((None, torch.nn.Linear), 'got the class Linear: call it'),
        ((lambda: 3, None), 'got the function <lambda>: call it'),
        ((__file__[:-2] + 'pth', None), 'weights, .* and .* by teacher_weig'),
        ((None, './README'), 'student=.* is a file of weights, .* by stud'),
        (('no_file.py:Net', None), 'no file no_file.py'),
        (('torchvision.models.resnet19', None), "has no 'resnet19'"),
        (('resnet18_8xb16_cifar', None), 'Did you mean'.lower()),
        (
            (None, torch.nn.Conv2d(1, 3, 3)),
            'student: a classifier should return',
        ),
    ],
)
def test_wrong_networks(
    networks, message, teacher, net, call, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path('README').touch()
    pair = [
        given if given is not None else own
        for given, own in zip(networks, (teacher, net(4)))
    ]
    with pytest.raises((ValueError, TypeError), match=message):
        call(*pair)


class KeepsForEval(torch.nn.Module):
    """As layers of timm; with LoRA's, weights of train mode are others."""

    def __init__(self, net, merges=False):
        super().__init__()
        self.net, self.merges, self.kept = net, merges, None

    def train(self, mode=True):
        super().train(mode)
        self.kept = None
        if self.merges:
            self.net.fc.weight.data += 1 if mode else -1
        return self

    def forward(self, x):
        bias = self.net.fc.bias
        if not self.training and self.kept is None:
            self.kept = bias.detach().clone()
        return self.net(x) + (self.kept if not self.training else bias)


def test_what_layers_keep_for_eval_mode(teacher, net, call):
    student = KeepsForEval(net(4)).eval()
    x = torch.rand(2, 1, 12, 12)
    student(x)  # keeps something of its weights before
    run = call(teacher, student, budget=3, val=None)
    found = run.student(x)
    fresh = KeepsForEval(net(4)).eval()
    fresh.load_state_dict(run.student.state_dict())
    torch.testing.assert_close(found, fresh(x))
    merging = KeepsForEval(net(4), merges=True)
    with pytest.raises(ValueError, match='other weights in train than in ev'):
        call(teacher, merging, budget=3, val=None)


class Minds(torch.nn.Module):
    """Normalises by itself, and looks at what it gets."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        if x.min() < 0 or x.max() > 1:
            raise AssertionError
        return self.net((x - 0.4) / 0.3)


class Brightens(Minds):
    """Returns NaN for what lies below."""

    def forward(self, x):
        return self.net(((x + 1e-3).sqrt() - 0.6) / 0.3)


def test_networks_that_take_no_other_numbers_than_of_images(
    teacher, net, call
):
    """Also where random ones are passed before, and in exports."""
    networks = Minds(teacher), Brightens(net(4))
    run = call(*networks, mean=None, std=None, budget=3, onnx=True)
    assert run.teacher_top1 > 50
    given = torch.rand(2, 1, 12, 12)
    assert run.student(given).shape == (2, 3)
    with pytest.raises(ValueError, match='AssertionError: .*Minds.forward'):
        call(*networks, budget=3, work_dir=run.work_dir / 'other')


def test_what_makes_logits_nan_is_told(teacher, net, call):
    for change, message in (
        (lambda own: own.fc.bias.data.fill_(torch.nan), 'has 3 NaN .*fc.bias'),
        (lambda own: None, 'NaN or Inf .* weights are finite: .* root'),
    ):
        student = net(4)
        change(student)
        root = torch.nn.Sequential(student, Roots())
        with pytest.raises(ValueError, match=message):
            call(teacher, root)


@pytest.mark.parametrize('budget, told', [(15, True), (200, False)])
def test_steps_that_may_be_meant_as_a_time(
    budget, told, teacher, net, call, capsys
):
    call(teacher, net(4), val=None, plan_only=True, budget=budget)
    said = 'budget=15 is a number of student steps; a time has a unit, such as'
    assert (f'{said} 15min' in capsys.readouterr().out) == told


@pytest.mark.parametrize('lr, is_told', [(1e-9, True), (0.01, False)])
def test_a_student_far_below_its_teacher(
    lr, is_told, teacher, net, call, capsys
):
    """It is told in the end, which is all that many read."""
    student = net(16)
    if not is_told:
        student.load_state_dict(teacher.state_dict())
    else:
        student.fc.bias.data[0] = 99
    run = call(teacher, student, schedule=dict(TINY, lr=lr), budget=3)
    assert (run.top1 < run.teacher_top1 / 2) == is_told
    (*_, last) = capsys.readouterr().out.strip().splitlines()
    said = f'The student has {run.top1:.1f} % on val, and its teacher '
    assert last.startswith(said) == is_told
    assert last.endswith('a larger budget has more') == is_told


def test_classes_that_weights_do_not_fit(net, call, home):
    teacher = f'{home / "tiny_net_of_a_user.py"}:Net'
    given = dict(teacher_args=dict(width=16), teacher_weights=home / 't.pth')
    message = r'of shape \(3, .*\(2, .* made for 2 classes, .* classes says'
    with pytest.raises(ValueError, match=message):
        call(teacher, net(4), classes=2, **given)
    given['teacher_args'].update(num_classes=7)
    message = r'of 3 cl.* teacher_args=dict\(num_classes=3\)\.'
    with pytest.raises(ValueError, match=message):
        call(teacher, net(4), **given)


class Roots(torch.nn.Module):
    def forward(self, logits):
        return logits.sum(1, keepdim=True).mul(0).sub(1).sqrt() + logits


def test_shared_weights_are_refused(teacher, call):
    with pytest.raises(ValueError, match='share weights'):
        call(teacher, teacher)


def test_weights_in_the_same_memory_are_refused(teacher, net, call):
    """Loading the student's would change the teacher's."""
    student = net(16)
    student.fc.weight.data = teacher.fc.weight.data
    assert student.fc.weight is not teacher.fc.weight
    with pytest.raises(ValueError, match='share weights'):
        call(teacher, student)


def test_a_frozen_classifier_may_be_the_teachers(teacher, net, call, tmp_path):
    """As in SimKD; it changes in neither network."""
    teacher.fc.requires_grad_(False)
    student = net(16)
    student.fc = teacher.fc
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    weights = tmp_path / 'student.pth'
    torch.save(net(16).state_dict(), weights)
    # Which has a classifier of its own.
    with pytest.raises(ValueError, match='share weights'):
        call(teacher, student, student_weights=weights)
    run = call(teacher, student, budget=4, val=None)
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key])
    assert run.student.fc.weight is teacher.fc.weight
    teacher.fc.requires_grad_(True)
    with pytest.raises(ValueError, match='share weights'):
        call(teacher, student)


@pytest.mark.parametrize(
    'text, message',
    [
        ('class Net:\n    pass\n', r'teacher: .*nets\.py:Net\.$'),
        ('class A:\n    pass\ndef b():\n    pass\n', r':A or .*nets\.py:b\.$'),
        (
            'def helper():\n    pass\nmodel = 3\n',
            'is no config with a model .TypeErr',
        ),
        ('modle = dict()\n', 'has modle, .* mean model'),
        (
            "model = {'head': 1,\n 'head': 2}\n",
            r"teacher='.*nets\.py': .*nets\.py, line 1: .* 'head' twice",
        ),
    ],
)
def test_a_file_for_a_network(text, message, net, call, tmp_path):
    """The names that there are, or what is wrong in a config."""
    (tmp_path / 'nets.py').write_text(text)
    with pytest.raises(ValueError, match=message):
        call(str(tmp_path / 'nets.py'), net(4))


class Told(nn.Module):
    """Computes on after its last layer, and returns more than logits."""

    def __init__(self, net, way):
        super().__init__()
        self.net, self.way = net, way

    def forward(self, images):
        logits = 1.5 * self.net(images)
        if self.way == 'dict':
            return dict(logits=logits, images=images)
        return (logits, images) if self.way == 'tuple' else logits


@pytest.mark.parametrize(
    'ways', [('dict', 'tuple'), ('tuple', None), (None, 'dict')]
)
def test_logits_that_no_layer_makes(teacher, net, call, ways, capsys):
    networks = [Told(teacher, ways[0]), Told(net(4), ways[1])]
    run = call(*networks, onnx=True)
    told = capsys.readouterr().out
    for way, place in dict(dict="['logits']", tuple='[0]').items():
        text = f'its logits are taken from output{place}\n'
        assert told.count(text) == ways.count(way)
    assert run.teacher_top1 > 80 and run.top1 is not None
    student = run.work_dir / 'student'
    assert (student / 'student.onnx').is_file()
    place = dict(dict="['logits']", tuple='[0]').get(ways[1], '')
    described = json.loads((student / 'student.json').read_text())
    assert described.get('output', '') == place


class Tutorial(nn.Module):
    """It flattens maps, or images, as many do."""

    def __init__(self, width, has_maps):
        super().__init__()
        self.has_maps, size = has_maps, width if has_maps else 3
        self.maps = nn.Conv2d(3, width, 3, padding=1)
        self.head = nn.Linear(size * 144, 3)

    def forward(self, images):
        maps = self.maps(images).relu() if self.has_maps else images
        return self.head(maps.view(maps.size(0), -1))


@pytest.mark.parametrize('has_maps', [True, False])
def test_networks_that_flatten_by_view(call, has_maps):
    networks = Tutorial(8, has_maps), Tutorial(4, has_maps)
    run = call(
        *networks, image_shape=(3, 12, 12), mean=None, std=None, val=None
    )
    assert (run.work_dir / 'student/student.pth').is_file()

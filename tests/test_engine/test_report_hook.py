# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import logging
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.runner import Runner

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.engine.hooks import report_hook
from csd_mmrazor.models import Networks
from csd_mmrazor.report import read_measurements, write_measurements
from csd_mmrazor.report.run_files import answers_top1
from csd_mmrazor.utils.scalars import read_scalars


@pytest.fixture
def tiny_runner(tiny_runner):
    return partial(tiny_runner, report=True)


def read(runner):
    return read_measurements(runner.work_dir)


def hook_of(runner):
    (hook,) = (
        h for h in runner.hooks if isinstance(h, report_hook.ReportHook)
    )
    return hook


class Draws(Hook):
    """Notes what is drawn next, when everything else is done."""

    priority = 'LOWEST'

    def __init__(self):
        self.states = []

    def note(self, runner, **_):
        self.states.append((torch.get_rng_state(), np.random.get_state()[1]))

    before_train = after_val_iter = after_val_epoch = after_train_epoch = note


def test_a_run_is_the_same_with_and_without(tiny_config, tmp_path):
    runners, notes = [], []
    for name in ('with', 'without'):
        cfg = tiny_config(work_dir=name)
        cfg.default_hooks.synthesis.rehearsal = False
        if name == 'without':
            cfg.default_hooks.pop('report')
        runner = Runner.from_cfg(cfg)
        draws = Draws()
        runner.register_hook(draws)
        runner.train()
        assert (tmp_path / name / 'report.html').exists() == (name == 'with')
        runners.append(runner)
        notes.append(draws.states)
    assert len(notes[0]) == len(notes[1]) == 7
    for one, other in zip(*notes):
        assert torch.equal(one[0], other[0]) and (one[1] == other[1]).all()
    states = [runner.model.state_dict() for runner in runners]
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    modes = [[m.training for m in r.model.modules()] for r in runners]
    assert modes[0] == modes[1]
    banks = [BankFolder(f'{runner.work_dir}/bank') for runner in runners]
    assert banks[0].digest() == banks[1].digest()


def test_what_it_measures_is_so(tiny_runner):
    runner = tiny_runner()
    runner.train()
    found = read(runner)
    networks = Networks.from_algorithm(runner.model)
    models = dict(teacher=networks.each_teacher[0], student=networks.student)

    # Answers, against the accuracy that was logged and a pass of our own.
    logged = read_scalars(runner.work_dir)['accuracy/top1']
    student = found['validation']['student']
    assert logged[student['epoch']] == max(logged.values())
    assert answers_top1(found, 'student') == pytest.approx(
        max(logged.values())
    )
    matrix = np.zeros((10, 10), int)
    model = runner.model.eval()
    for data in runner.val_dataloader:
        inputs = model.data_preprocessor(data, False)['inputs']
        with torch.no_grad():
            logits = models['teacher'](inputs, mode='tensor')
        labels = [sample.gt_label.item() for sample in data['data_samples']]
        np.add.at(matrix, (labels, logits.argmax(1).numpy()), 1)
    for label, answer, images in found['validation']['teacher']['counts']:
        matrix[label, answer] -= images
    assert not matrix.any()

    # Sizes, layer by layer.
    for role, model in models.items():
        counted = found['networks'][role]
        sizes = [p.numel() for p in model.parameters()]
        assert counted['weights'] == sum(sizes)
        products = []
        handles = [
            layer.register_forward_hook(
                lambda m, x, y, products=products: products.append(
                    y[0].numel() * m.weight[0].numel()
                )
            )
            for layer in model.modules()
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))
        ]
        model(torch.zeros(1, 1, 8, 8), mode='tensor')
        for handle in handles:
            handle.remove()
        assert counted['multiplications'] == sum(products)
        assert all(v > 0 for v in counted['milliseconds'].values())

    # Scores, of the images in the bank's files.
    bank = BankFolder(f'{runner.work_dir}/bank')
    images, labels = (
        torch.from_numpy(np.array(part)) for part in bank.read(bank.shards[1])
    )
    inputs = networks.normalize(images)
    with torch.no_grad():
        logits, logits_t = (
            models[role](inputs, mode='tensor')
            for role in ('student', 'teacher')
        )
    losses = F.cross_entropy(logits, labels, reduction='none')
    scores = found['images']['scores']
    assert len(scores) == len(bank) and found['images']['epoch'] == 2
    for place in range(len(labels)):
        loss, student, teacher, share = scores[bank.shards[1].name, place]
        assert loss == pytest.approx(losses[place].item(), rel=1e-4)
        assert student == logits[place].argmax()
        assert teacher == logits_t[place].argmax()
        expected = logits_t[place].softmax(0)[labels[place]].item()
        assert share == pytest.approx(expected, rel=1e-4)


def test_it_is_written_each_epoch_and_at_the_end(tiny_runner, monkeypatch):
    written = []
    monkeypatch.setattr(
        report_hook,
        'write_report',
        lambda paths: written.append((runner.epoch, runner.iter)),
    )
    runner = tiny_runner(
        **{'train_cfg.max_epochs': 3, 'train_cfg.val_interval': 2}
    )
    runner.train()
    # Before any; after epochs 1, 2 and 3, of which the first is not
    # validated (MMEngine counts an epoch after its hooks); at the end.
    assert written == [(0, 0), (0, 3), (2, 6), (3, 9), (3, 9)]


@pytest.mark.parametrize('save_best', ['auto', None])
def test_a_resumed_run_keeps_the_exported_answers(
    tiny_runner, save_best, monkeypatch
):
    if not save_best:  # none is better than another
        monkeypatch.setattr(report_hook, '_right', lambda counts: 0)
    tiny_runner = partial(
        tiny_runner, **{'default_hooks.checkpoint.save_best': save_best}
    )
    runner = tiny_runner()
    runner.train()
    before = read(runner)
    # Both may be passed on: nothing in them says where they were made.
    for name in ('report.json', 'report.html'):
        content = Path(runner.work_dir, name).read_text(encoding='utf-8')
        assert str(Path(runner.work_dir).parent) not in content
    again = tiny_runner(
        resume=True,
        **{
            'train_cfg.max_epochs': 3,
            # Nothing can be learnt any more, and much be forgotten.
            'optim_wrapper.architecture.optimizer.lr': 1.0,
        },
    )
    again.train()
    after = read(again)
    top1 = read_scalars(again.work_dir)['accuracy/top1']
    epoch = after['validation']['student']['epoch']
    assert top1[epoch] == max(top1.values()) if save_best else epoch == 3
    page = Path(again.work_dir, 'report.html').read_text(encoding='utf-8')
    assert f'(epoch {epoch}), in student/' in page
    teachers = [each['validation']['teacher'] for each in (before, after)]
    assert teachers[0]['counts'] == teachers[1]['counts']


def test_an_error_in_it_is_a_warning(tiny_runner, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError('no luck')

    for name in ('Networks', 'write_report', 'write_measurements'):
        monkeypatch.setattr(report_hook, name, fail)
    runner = tiny_runner()
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    runner.logger.addHandler(handler)
    runner.train()
    assert runner.epoch == 2
    texts = [r.getMessage() for r in records if r.levelname == 'WARNING']
    texts = [text for text in texts if 'The report lacks' in text]
    assert texts and len(texts) == len(set(texts))
    assert all('The run goes on.' in text for text in texts)


def test_measurements_that_cannot_be_used_stop_nothing(tiny_runner, tmp_path):
    (tmp_path / 'run').mkdir()
    # As a run begins it; others' are left alone.
    (tmp_path / 'run/report.json').write_text('{"version": [[[[')
    runner = tiny_runner()
    runner.train()
    assert answers_top1(read(runner), 'teacher') is not None


def test_wrong_arguments():
    for value in (-1, 1.5, True, 'all'):
        with pytest.raises(ValueError, match='images of ReportHook'):
            report_hook.ReportHook(images=value)


def test_processes_count_each_image_once(forked, tiny_config, tmp_path):
    cfg = tiny_config(work_dir='two')
    cfg.dump(tmp_path / 'two.py')
    done = forked('two.py', '--work-dir', 'two', '--no-rehearsal', processes=2)
    assert done.status == [0, 0], done.output
    counts = read_measurements(tmp_path / 'two')
    images = sum(n for *_, n in counts['validation']['teacher']['counts'])
    assert images == 360
    top1 = read_scalars(tmp_path / 'two')['accuracy/top1']
    assert answers_top1(counts, 'student') == pytest.approx(max(top1.values()))
    assert json.loads((tmp_path / 'two/report.json').read_text())


def test_a_report_of_others_is_left_alone(tiny_runner, tmp_path):
    path = tmp_path / 'run/report.json'
    path.parent.mkdir()
    for text in '{"my": "results"}', '':
        path.write_text(text)
        with pytest.raises(ValueError, match='not written by a run'):
            write_measurements(path.parent, {})
    runner = tiny_runner(**{'train_cfg.max_epochs': 1})
    runner.train()
    assert path.read_text() == ''
    log = next(path.parent.rglob('*.log')).read_text()
    assert log.count('The report lacks report.json: ValueError') == 1
    path.unlink()
    for _ in range(2):
        write_measurements(path.parent, {})
    assert read(runner) == read(runner)

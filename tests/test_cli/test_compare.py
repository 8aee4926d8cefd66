# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The comparison: real runs, skipped when done and resumed when killed."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch
from helpers import ROOT, TIMEOUT, build
from mmengine.config import Config
from PIL import Image

from csd_mmrazor.cli import compare

COMPARE = ROOT / 'tools/compare.py'
CONFIG = ROOT / 'configs/csd/csd_quickstart_digits.py'
SYNTHESIS = 'default_hooks.synthesis'
LIST = f"""
seeds: [0, 1]
options:
  model.teachers.teacher.ckpt_path: TEACHER
  {SYNTHESIS}.init_rounds: 1
  {SYNTHESIS}.init_iters: 3
  {SYNTHESIS}.synthesizer.iters: 2
  {SYNTHESIS}.synthesizer.batch_size: 16
  {SYNTHESIS}.synthesizer.generator.hidden_channels: 4
  train_dataloader.batch_size: 16
  train_dataloader.sampler.num_samples: 32
  train_cfg.max_epochs: 3
methods:
  CSD:
    config: {CONFIG}
  without, (its) term:
    config: {CONFIG}
    options:
      {SYNTHESIS}.synthesizer.losses.loss_csd.loss_weight: 0
      val_evaluator.topk: [1, 2]
    against: CSD
"""


@pytest.fixture(scope='module')
def text(tmp_path_factory):
    """The list, with a teacher of the quickstart's shape."""
    torch.manual_seed(0)
    teacher = build(Config.fromfile(CONFIG).teacher_net)
    teacher.init_weights()
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.save(dict(state_dict=teacher.state_dict()), path)
    return LIST.replace('TEACHER', str(path))


@pytest.fixture
def main(tmp_path, monkeypatch):
    """The tool in this process, where it is to refuse."""
    monkeypatch.chdir(tmp_path)

    def main(*args):
        monkeypatch.setattr(sys, 'argv', ['compare.py', *args])
        compare.compare(compare.parse_args())

    return main


def rows(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def tool(forked):
    """The tool in a process of its own."""
    return partial(forked, tool='compare.py')


def test_runs_are_tabulated_once(tool, tmp_path, text):
    """A list over seeds, extended by a seed; and what is refused."""
    plan = tmp_path / 'tiny.yml'
    plan.write_text(text)
    args = ('tiny.yml', '--out', 'docs/tiny', '--jobs', 2)
    first = tool(*args, '--seeds', 0)
    assert first.status == [0], first.output
    found = rows(tmp_path / 'docs/tiny.csv')
    assert sorted(row['method'] for row in found) == [
        'CSD',
        'without, (its) term',
    ]
    for row in found:
        curve = row['curve'].split()
        assert len(curve) == 3
        assert row['top1'] == curve[-1]
        assert row['best'] == max(curve, key=float)
        assert (row['images'], row['steps']) == ('64', '9')
        # A run as short as this may take less than half a second.
        assert int(row['cpu_seconds']) >= 0
        assert float(row['gflop']) > 0
        assert int(row['seconds']) >= 0
        assert torch.__version__ in row['versions']
        assert row['commit']
    work = tmp_path / 'work_dirs/compare/tiny'
    kept = {path.name for path in work.iterdir()}
    assert {'csd', 'without_its_term'} <= kept
    logs = (work / 'without_its_term/seed0.log').read_text()
    assert (
        'loss_bn' in logs and 'loss_csd' not in logs.split('Epoch(train)')[1]
    )

    again = tool(*args)
    assert again.status == [0], again.output
    assert '4 runs, 2 to do' in again.stdout
    # Rows of the first call are as they were.
    assert rows(tmp_path / 'docs/tiny.csv')[:2] == found
    markdown = (tmp_path / 'docs/tiny.md').read_text()
    for method in ('CSD', 'without, (its) term'):
        values = torch.tensor(
            [
                float(row['top1'])
                for row in rows(tmp_path / 'docs/tiny.csv')
                if row['method'] == method
            ]
        )
        cell = f'| {method} | {values.mean():.2f} ± {values.std():.2f} | 2 |'
        assert cell in markdown
    assert Image.open(tmp_path / 'docs/tiny.png').size[0] > 400
    assert '| without, (its) term | CSD | 2 |' in markdown
    assert '| against |' not in first.stdout  # one seed tells nothing
    # One run each, in the column after the mean.
    assert len(re.findall(r'\d\.\d\d \| 1 \|', first.stdout)) == 2

    plan.write_text(text.replace('max_epochs: 3', 'max_epochs: 4'))
    other = tool(*args)
    assert 'has a result with another options' in other.stderr
    assert other.status != [0]


def test_paired_differences_by_hand():
    """In another order, and with a seed that the other lacks."""
    top1 = dict(
        a={3: 91.0, 1: 90.0, 2: 92.0, 9: 10.0}, b={1: 88, 2: 91, 3: 88}
    )
    rows = [
        dict(method=method, budget='', seed=str(seed), top1=str(value))
        for method, values in top1.items()
        for seed, value in values.items()
    ]
    *_, line = compare.paired_differences(rows, dict(a='b')).splitlines()
    # Differences 2, 1 and 3: mean 2, standard error 1 / sqrt(3), and of
    # Student's t with 2 degrees of freedom 4.3027 is the 97.5 % point; its
    # distribution is 1 / 2 + t / (2 sqrt(2 + t^2)).
    t = 2 * 3**0.5
    p = 1 - t / (2 + t**2) ** 0.5
    low, high = 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5
    assert line == (
        f'| a | b | 3 | +2.00 | {low:+.2f} to {high:+.2f} | {p:.3f} |'
    )
    assert not compare.paired_differences(rows[:1], dict(a='b'))


def test_budgets_are_compared_apart(tmp_path):
    """Lists of two budgets share a file of results, read back as written."""
    top1 = dict(
        large=dict(a=(93.0, 95.0), b=(90.0, 91.0)),
        small=dict(a=(50.0, 51.0), b=(70.0, 72.0)),
    )
    rows = [
        dict.fromkeys(compare.COLUMNS, '1')
        | dict(method=m, budget=budget, seed=str(seed), top1=str(value))
        | dict(config='c.py', options='{}')
        for budget, methods in top1.items()
        for m, values in methods.items()
        for seed, value in enumerate(values)
    ]
    out = tmp_path / 'both'
    compare.write(rows, '', out)
    assert compare.read_rows(out.with_name('both.csv')) == rows
    table = compare.table(rows).splitlines()[2:]
    assert [line.split(' | ')[:2] for line in table] == [
        ['| a, large', '94.00 ± 1.41'],
        ['| b, large', '90.50 ± 0.71'],
        ['| b, small', '71.00 ± 1.41'],
        ['| a, small', '50.50 ± 0.71'],
    ]
    large, small = compare.paired_differences(rows, dict(a='b')).splitlines()[
        2:
    ]
    assert large.startswith('| a, large | b, large | 2 | +3.50 |')
    assert small.startswith('| a, small | b, small | 2 | -20.50 |')

    run = compare.Run('a', 0, 'c.py', {}, tmp_path, budget='large')
    assert compare.is_done(run, rows)
    assert not compare.is_done(run._replace(budget='medium'), rows)


def test_a_killed_comparison_goes_on(tmp_path, text, tool, main):
    """Killed with its run in the middle of training."""
    (tmp_path / 'tiny.yml').write_text(
        text.replace('max_epochs: 3', 'max_epochs: 10')
    )
    command = [sys.executable, str(COMPARE), 'tiny.yml', '--seeds', '0']
    command += ['--methods', 'CSD', '--work-dir', 'work']
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, start_new_session=True
    )
    work = tmp_path / 'work/csd/seed0'
    deadline = time.monotonic() + TIMEOUT
    while not (work / 'epoch_2.pth').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGSTOP)
    with pytest.raises(RuntimeError, match='work are still under way'):
        main(*command[2:])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'work/results.csv').exists()
    done = tool(*command[2:])
    assert done.status == [0], done.output
    (row,) = rows(tmp_path / 'work/results.csv')
    assert len(row['curve'].split()) == 10
    assert row['cpu_seconds'] == '' and int(row['seconds']) > 0
    assert 'resumed epoch' in (work.parent / 'seed0.log').read_text()


def test_bad_lists(tmp_path, text, main):
    """Each is told before any work, with what to write."""

    def refused(content, *args):
        (tmp_path / 'bad.yml').write_text(content)
        main('bad.yml', *args)

    for content, message in (
        ('seeds: [0]', 'names no methods: write methods: {NAME: {config'),
        (text + '\nbudget: 150', 'budget of bad.yml should be'),
        (text + '\nseed: [1]', r"has \['seed'\], but only methods, seeds"),
        ('methods: {A: {confg: b.py}}', 'method "A" of .* should be as in'),
        (text.replace('against: CSD', 'against: DSC'), 'against: NAME'),
        (text.replace('[0, 1]', '[0, 0]'), 'or a seed is there twice'),
    ):
        with pytest.raises(ValueError, match=message):
            refused(content)
    with pytest.raises(FileNotFoundError, match='b.py'):
        refused('methods: {A: {config: b.py}}')
    with pytest.raises(ValueError, match=r"no \['CDS'\]; it has \['CSD'"):
        refused(text, '--methods', 'CDS')
    with pytest.raises(SystemExit):
        refused(text, '--jobs', '0')
    assert [path.name for path in tmp_path.iterdir()] == ['bad.yml']

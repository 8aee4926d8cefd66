# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The comparison: real runs, skipped when done and resumed when killed."""

import argparse
import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import ROOT, TIMEOUT, a_row, build
from mmengine.config import Config
from PIL import Image

from csd_mmrazor.cli import compare, compare_list, compare_runs
from csd_mmrazor.cli.compare_rows import (
    COLUMNS,
    paired_differences,
    read_rows,
)
from csd_mmrazor.cli.compare_rows import table as table_of
from csd_mmrazor.cli.options import Options
from csd_mmrazor.engine.measure import describe_machine

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


@pytest.mark.parametrize(
    'made, images',
    [
        (dict(), (3 + 2 * 4) * 5),
        (dict(num_images=7), (3 + 2 * 4) * 7),
        # Those of each step are kept.
        (dict(keep='all'), (3 * 10 + 2 * 4 * 6) * 5),
    ],
)
def test_images_of_a_bank_that_drops_some(made, images, tmp_path):
    """By rounds or steps, since the folder has only the last ones."""
    synthesizer = dict(batch_size=5, iters=6, **made)
    synthesis = dict(init_rounds=3, init_iters=10, rounds=4)
    cfg = Config(
        dict(
            default_hooks=dict(
                synthesis=dict(synthesis, synthesizer=synthesizer)
            ),
            train_dataloader=dict(dataset=dict(capacity=20)),
            train_cfg=dict(max_epochs=2),
        )
    )
    assert compare.count_images(cfg, tmp_path) == images


@pytest.mark.parametrize(
    'validated, epochs, costs',
    [
        ([2, 4, 5], 5, [60, 100, 120]),
        ([2, 3], 3, [60, 80]),
        ([20, 40, 50], 5, [60, 100, 120]),  # logged by steps
    ],
)
def test_a_run_that_ends_early_costs_what_it_trained(
    validated, epochs, costs, tmp_path
):
    synthesizer = dict(batch_size=5, iters=6, keep='all')
    cfg = Config(
        dict(
            default_hooks=dict(
                synthesis=dict(
                    init_rounds=3, init_iters=10, synthesizer=synthesizer
                )
            ),
            train_dataloader=dict(dataset=dict(capacity=20)),
            train_cfg=dict(max_epochs=5),
        )
    )
    work = tmp_path / 'seed0'
    logged = work / '20260101_000000/vis_data'
    logged.mkdir(parents=True)
    lines = [
        json.dumps({'accuracy/top1': 50.0, 'step': step}) for step in validated
    ]
    (logged / 'scalars.json').write_text('\n'.join(lines))
    (tmp_path / 'seed0.gflop').write_text('120.0 20.0 digest')
    run = compare_list.ListedRun('a', 0, 'a.py', {}, work)
    row = compare.result(run, cfg, '')
    steps = 3 * 10 + epochs * 6
    assert (row['steps'], row['images']) == (steps, steps * 5)
    assert [float(cost) for cost in row['curve_gflop'].split()] == costs
    assert float(row['gflop']) == costs[-1]
    assert cfg.train_cfg.max_epochs == 5


@pytest.mark.parametrize('hooks', [{}, dict(default_hooks=None)])
def test_runs_without_hooks(hooks, tmp_path):
    """They make no images; MMEngine adds its hooks by itself."""
    cfg = Config(dict(hooks, custom_hooks=None, model={}, train_cfg={}))
    assert compare.find_hook(cfg) is None
    assert compare.count_steps(cfg) == compare.count_images(cfg, tmp_path) == 0
    start = tmp_path / 'seed0/20260101_000000/vis_data'
    start.mkdir(parents=True)
    (start / 'config.py').write_text(cfg.pretty_text)
    (tmp_path / 'seed0/epoch_1.pth').touch()
    run = compare_list.ListedRun('a', 0, 'a.py', {}, tmp_path / 'seed0')
    compare.check_continued(run, cfg, False)
    other = Config(dict(cfg.to_dict(), val_cfg={}))
    with pytest.raises(ValueError, match='begun in .* with other settings'):
        compare.check_continued(run, other, False)


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
        # Before the first epoch, a round is made.
        costs = [float(cost) for cost in row['curve_gflop'].split()]
        assert costs[2] == float(row['gflop'])
        assert costs[1] - costs[0] == pytest.approx(costs[2] - costs[1], 0.2)
        assert costs[0] > costs[1] - costs[0] > 0
        assert int(row['seconds']) >= 0
        assert torch.__version__ in row['versions']
        assert row['machine'] == describe_machine(torch.device('cpu'))
        assert row['commit']
    work = tmp_path / 'work_dirs/compare/tiny'
    kept = {path.name for path in work.iterdir()}
    assert {'csd', 'without_its_term'} <= kept
    logs = (work / 'without_its_term/seed0.log').read_text()
    assert (
        'loss_bn' in logs and 'loss_csd' not in logs.split('Epoch(train)')[1]
    )

    # Without their table, finished runs are as they were, with their costs.
    (tmp_path / 'docs/tiny.csv').unlink()
    again = tool(*args)
    assert again.status == [0], again.output
    assert 'runs: 4, to do: 2' in again.stdout
    kept = rows(tmp_path / 'docs/tiny.csv')[:2]
    assert sorted(kept, key=str) == sorted(found, key=str)
    markdown = (tmp_path / 'docs/tiny.md').read_text()
    for method in ('CSD', 'without, (its) term'):
        values = torch.tensor(
            [
                float(row['top1'])
                for row in rows(tmp_path / 'docs/tiny.csv')
                if row['method'] == method
            ],
            dtype=torch.float64,
        )
        cell = f'| {method} | {values.mean():.2f} ± {values.std():.2f} | 2 |'
        assert cell in markdown
    assert Image.open(tmp_path / 'docs/tiny.png').size[0] > 400
    assert '| without, (its) term | CSD | 2 |' in markdown
    assert '| against |' not in first.stdout  # one seed tells nothing
    assert (
        'both methods have: without, (its) term and CSD (1).' in first.stdout
    )
    # One run each, in the column after the mean.
    assert len(re.findall(r'\d\.\d\d \| 1 \|', first.stdout)) == 2

    # As the list has it, which names one of its files absolutely.
    given = re.search('teacher.ckpt_path: (.*)', text)[1]
    given = ('--cfg-options', f'model.teachers.teacher.ckpt_path={given}')
    same = tool(*args, *given)
    assert same.status == [0] and 'runs: 4, to do: 0' in same.stdout
    for row in found:
        assert re.fullmatch(rf'\.\.\./\w{{8}}/{CONFIG.name}', row['config'])
        assert re.search(r'": "\.\.\./\w{8}/teacher.pth"', row['options'])
        assert '/tmp' not in str(row) and str(ROOT) not in str(row)
    other = tool(*args, '--cfg-options', 'train_cfg.max_epochs=4')
    assert 'has a result with options' in other.stderr
    assert other.status != [0]
    plan.write_text(text.replace('max_epochs: 3', 'max_epochs: 4'))
    other = tool(*args)
    assert 'has a result with options' in other.stderr
    assert other.status != [0]
    # Which the command line can set again.
    same = tool(*args, '--cfg-options', 'train_cfg.max_epochs=3')
    assert same.status == [0] and 'runs: 4, to do: 0' in same.stdout


def test_methods_are_told_apart_without_formatting(monkeypatch):
    """By all but seed and folder, in the same way in each process."""

    def digest(**settings):
        cfg = Config(dict(work_dir='a', randomness=dict(seed=0), lr=1))
        cfg.merge_from_dict(settings)
        return compare_runs.digest(cfg)

    monkeypatch.delattr('mmengine.config.config.FormatCode')
    same = [digest(), digest(work_dir='b'), digest(randomness=dict(seed=1))]
    assert len({*same}) == 1
    assert digest(lr=2) not in same
    assert digest(lr=1.0) not in same


def test_budgets_are_compared_apart(tmp_path):
    """Lists of two budgets share a file of results, read back as written."""
    top1 = dict(
        large=dict(a=(93.0, 95.0), b=(90.0, 91.0)),
        small=dict(a=(50.0, 51.0), b=(70.0, 72.0)),
    )
    rows = [
        dict.fromkeys(COLUMNS, '1')
        | dict(method=m, budget=budget, seed=str(seed), top1=str(value))
        | dict(config='c.py', options='{}')
        for budget, methods in top1.items()
        for m, values in methods.items()
        for seed, value in enumerate(values)
    ]
    out = tmp_path / 'both'
    compare.write(rows, '', out)
    assert read_rows(out.with_name('both.csv')) == rows
    table = table_of(rows).splitlines()[2:]
    assert [line.split(' | ')[:2] for line in table] == [
        ['| a, large', '94.00 ± 1.41'],
        ['| b, large', '90.50 ± 0.71'],
        ['| b, small', '71.00 ± 1.41'],
        ['| a, small', '50.50 ± 0.71'],
    ]
    large, small = paired_differences(rows, dict(a='b')).splitlines()[2:]
    assert large.startswith('| a, large | b, large | 2 | +3.50 |')
    assert small.startswith('| a, small | b, small | 2 | -20.50 |')

    run = compare.ListedRun('a', 0, 'c.py', {}, tmp_path, budget='large')
    assert compare.is_done(run, rows)
    assert not compare.is_done(run._replace(budget='medium'), rows)


def cpu_seconds_of_group(group):
    """What the system says of its processes, which are stopped."""
    seconds = []
    for path in Path('/proc').glob('[0-9]*/stat'):
        with suppress(OSError):  # another's, which ended meanwhile
            words = path.read_text().rpartition(')')[2].split()
            if int(words[2]) == group:
                seconds.append(int(words[11]) + int(words[12]))
    return sum(seconds) / os.sysconf('SC_CLK_TCK')


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
    used = cpu_seconds_of_group(process.pid)
    with pytest.raises(RuntimeError, match='work are still under way'):
        main(*command[2:])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'work/results.csv').exists()
    same = (tmp_path / 'tiny.yml').read_text()
    (tmp_path / 'tiny.yml').write_text(
        same.replace('synthesizer.iters: 2', 'synthesizer.iters: 4')
    )
    with pytest.raises(ValueError, match='other settings: .*iters: 2 -> 4'):
        main(*command[2:])
    # Hooks that log may be others.
    (tmp_path / 'tiny.yml').write_text(
        same.replace(
            'options:', 'options:\n  default_hooks.logger.interval: 7', 1
        )
    )
    # Killed again when all is done but the row.
    kill = 'lambda *_: os.kill(os.getpid(), signal.SIGKILL)'
    setup = f'from csd_mmrazor.cli import compare; compare.result = {kill}'
    done = tool(*command[2:], setup=setup)
    assert done.status == [-signal.SIGKILL], done.output
    assert (work / 'epoch_10.pth').exists()
    assert not (tmp_path / 'work/results.csv').exists()
    done = tool(*command[2:])
    assert done.status == [0], done.output
    (row,) = rows(tmp_path / 'work/results.csv')
    assert len(row['curve'].split()) == 10
    assert int(row['seconds']) > 0
    assert 'resumed epoch' in (work.parent / 'seed0.log').read_text()
    # What each of the three took is in it.
    first, *others = sorted(work.glob('*/cpu_seconds'))
    spent = [float(path.read_text()) for path in (first, *others)]
    assert len(others) == 2 and 0 < spent[0] <= used
    assert row['cpu_seconds'] == str(round(sum(spent)))


OF_ONE = f'methods: {{A: {{config: {CONFIG}}}}}'
BAD_LISTS = {
    'nothing': ('', 'names no methods: write methods: {NAME: {config'),
    'no methods': ('seeds: [0]', 'names no methods'),
    'no method': ('methods: {}', 'names no methods'),
    'no YAML': ('methods: [', 'bad.yml is not a list in YAML'),
    'budget': ('budget: 150\n' + OF_ONE, 'budget of bad.yml should be'),
    'budget in lines': ('budget: "a\\nb"\n' + OF_ONE, 'neither line breaks'),
    'seed': ('seed: [1]\n' + OF_ONE, r"has \['seed'\], but only methods, see"),
    'twice': (OF_ONE + '\n' + OF_ONE, 'methods is there twice'),
    'same option': ('options: {a.b: 1, a.b: 2}\n' + OF_ONE, 'a.b is there tw'),
    'seed and options': (
        'options: {randomness.seed: 5}\n' + OF_ONE,
        'options of bad.yml has randomness.seed, which seeds sets',
    ),
    'work_dir': (
        OF_ONE.replace('}}', ', options: {work_dir: x}}}'),
        'options of method "A" of bad.yml has work_dir, which --work-dir sets',
    ),
    'options': (
        OF_ONE.replace('}}', ', options: [1]}}'),
        'options of method "A" of bad.yml should be a dict',
    ),
    'confg': ('methods: {A: {confg: b.py}}', 'method "A" of .* should be as'),
    'no file': ('methods: {A: {config: 3}}', 'method "A" of .* should be as'),
    'off': (OF_ONE.replace('A:', 'off:'), 'YAML reads False: write it in quo'),
    'day': (OF_ONE.replace('A:', '2020-01-01:'), 'YAML reads datetime.date'),
    'escape': (OF_ONE.replace('A:', '"A\\e[1m":'), r"neither .* got 'A\\x1b"),
    'long': (OF_ONE.replace('A:', f'{"A" * 101}:'), '100 at most, .* got'),
    'one': (OF_ONE.replace('A:', '1:'), 'YAML reads 1: write it in quotation'),
    'no name': (OF_ONE.replace('A:', '"++":'), "should have letters .* '\\+"),
    'a column': (OF_ONE.replace('A:', '"a|b":'), 'breaks nor |'),
    'against none': (
        OF_ONE.replace('}}', ', against: B}}'),
        'against of method "A" of bad.yml should be the NAME .* got \'B\'',
    ),
    'against itself': (OF_ONE.replace('}}', ', against: A}}'), "got 'A'"),
    'a file less': (
        'methods: {A: {config: b.py}}',
        'method "A", b.py: .*b.py',
    ),
    'an argument': (
        'options: {train_cfg.max_epoch: 3}\n' + OF_ONE,
        'method "A", .*train_cfg has no argument max_epoch. Did you mean',
    ),
    'no epoch': (
        'options: {train_cfg.max_epochs: 0}\n' + OF_ONE,
        'method "A", .*max_epochs should be a positive integer',
    ),
    'epochs of a generator': (
        'options: {model.generator.type: DAFLGenerator}\n' + OF_ONE,
        'method "A", .*its steps are counted by train_cfg.max_iters',
    ),
    'a dict': (
        'options: {model.generator: {type: DAFLGenerator}}\n' + OF_ONE,
        'method "A", .*model.generator=.* a dict cannot be given here',
    ),
    'a bracket': (
        'options: {randomness: "[1"}\n' + OF_ONE,
        'method "A", .*randomness=\\[1: a bracket is not closed',
    ),
    'no validation': (
        'options: {val_cfg: null, val_dataloader: null, val_evaluator: null}\n'
        + OF_ONE,
        'method "A", .*it has no validation, and top-1',
    ),
    **{
        f'seeds {seeds}': (f'seeds: {seeds}\n' + OF_ONE, 'seeds of bad.yml sh')
        for seeds in ('[]', '0', '[a]', "['0']", '[0.5]', '[true]', '[null]')
    },
    'seed -1': ('seeds: [-1]\n' + OF_ONE, 'method "A", .*randomness.seed sho'),
    'seed twice': ('seeds: [0, 0]\n' + OF_ONE, 'The seed 0 is there twice'),
}


@pytest.mark.parametrize('name', BAD_LISTS)
def test_bad_lists(tmp_path, main, name):
    """Each is told before any work, with what to write."""
    content, message = BAD_LISTS[name]
    (tmp_path / 'bad.yml').write_text(content)
    with pytest.raises(ValueError, match=f'(?s){message}'):
        main('bad.yml')
    assert [path.name for path in tmp_path.iterdir()] == ['bad.yml']


def test_bad_arguments(tmp_path, main):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'list.yml').write_text(OF_ONE)
    (tmp_path / 'no.csv').write_text('a,b\n1,2\n')
    (tmp_path / 'my.md').write_text('notes')
    for args, kind, message in (
        (['none.yml'], FileNotFoundError, 'list cannot be read.*none.yml'),
        (['list.yml', '--methods', 'CDS'], ValueError, r"no \['CDS'\]; it ha"),
        (['list.yml', '--methods', 'A', 'A'], ValueError, 'method A is there'),
        (['list.yml', '--seeds', '3', '3'], ValueError, 'seed 3 is there twi'),
        (['list.yml', '--jobs', '0'], SystemExit, '2'),
        (['list.yml', '--out', 'file/x'], OSError, '--out cannot be written'),
        (['list.yml', '--work-dir', 'file'], OSError, '--work-dir cannot be'),
        (['list.yml', '--out', 'no'], ValueError, 'no method and no seed and'),
        (['list.yml', '--out', 'my'], ValueError, 'my.md is there, and was'),
    ):
        with pytest.raises(kind, match=message):
            main(*args)
    assert not [*tmp_path.rglob('seed*')]


def test_a_method_that_fails_is_told_before_any_run(tmp_path, text, tool):
    """What only the parts themselves can tell, of the list's last method."""
    (tmp_path / 'list.yml').write_text(
        text.replace('val_evaluator.topk: [1, 2]', f'{SYNTHESIS}.init_roun: 1')
    )
    done = tool('list.yml')
    assert done.status != [0] and 'No run was started' in done.stderr
    (fault,) = re.findall('  "(.*)', done.stderr)
    assert fault.startswith('without, (its) term": TypeError: Synthesis')
    assert "'init_roun' (see work_dirs/compare/list/without" in fault
    found = {path.name for path in (tmp_path / 'work_dirs').rglob('seed*')}
    # One method was counted, for both seeds unless the other failed first.
    assert found == {'seed0.gflop', 'seed0.log'}


CSD_WEIGHT = f'{SYNTHESIS}.synthesizer.losses.loss_csd.loss_weight'


def test_options_of_the_command_line(tmp_path, text):
    """For all runs, in place of what the list and its methods set."""
    path = tmp_path / 'list.yml'
    path.write_text(text)
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=Options)

    def read(*options, methods=None):
        args = parser.parse_args(
            ['--cfg-options', *options] if options else []
        )
        vars(args).update(list=str(path), seeds=[5, 6], methods=methods)
        return compare_list.read_list(args, tmp_path)

    plain = read()
    changed = read(
        'train_cfg.max_epochs=9',
        'val_evaluator.topk=[1]',
        'load_from=a b/{seed}.pth',
    )
    assert len(changed) == len(plain) == 4
    for old, run in zip(plain, changed):
        assert run.options == {
            **old.options,
            'train_cfg.max_epochs': '9',
            'val_evaluator.topk': '[1]',
            'load_from': f'a b/{run.seed}.pth',
        }
        assert run._replace(options=old.options) == old
    with pytest.raises(ValueError, match='"without.*" and "CSD" the same ru'):
        read(f'{CSD_WEIGHT}=3', 'val_evaluator.topk=[1]')
    for only in (['CSD'], ['without, (its) term']):
        assert len(read(f'{CSD_WEIGHT}=3', methods=only)) == 2


def test_the_list_of_the_page(tmp_path):
    page = (ROOT / 'docs/tools.md').read_text()
    path = tmp_path / 'list.yml'
    path.write_text(re.search('```yaml\n(.*?)```', page, re.DOTALL)[1])
    args = argparse.Namespace(list=str(path), seeds=None, methods=None)
    runs = compare_list.read_list(args, tmp_path)
    assert len(runs) == 6
    weights = [
        compare_list.load_config(
            run._replace(config=str(ROOT / run.config))
        ).default_hooks.synthesis.synthesizer.losses.loss_csd.loss_weight
        for run in runs[:2]
    ]
    assert weights[0] > weights[1] == 0


@pytest.mark.parametrize(
    'option, message',
    [
        ('randomness.seed=3', '--cfg-options has randomness.seed, which seed'),
        ('work_dir=x', '--cfg-options has work_dir, which --work-dir sets'),
        ('resume=True', '--cfg-options has resume, which the tool, for'),
        (
            'train_cfg.max_epoch=3',
            'method "CSD", .*no argument max_epoch. D',
        ),
        ('modl.a=3', 'method "CSD", .*--cfg-options: .*no modl; did you mean'),
        ('train_cfg.max_epochs=0', 'max_epochs should be a positive integer'),
        ('optim_wrapper', None),
        ('load_from=[a', None),
    ],
)
def test_bad_options_of_the_command_line(
    tmp_path, main, text, option, message
):
    (tmp_path / 'list.yml').write_text(text)
    with pytest.raises(
        ValueError if message else SystemExit, match=f'(?s){message or 2}'
    ):
        main('list.yml', '--cfg-options', option)
    assert [path.name for path in tmp_path.iterdir()] == ['list.yml']


@pytest.mark.parametrize(
    'text, told',
    [
        ('/home/me/w.pth', '.../H/w.pth'),
        ('/home/me/my data/', '.../H/my data'),
        ('file:///home/me/w.pth', '.../H/w.pth'),
        ('~/w.pth', '.../T/w.pth'),
        ('[/home/me/a,"/home/me/b, c",d]', '[.../H/a,".../H/b, c",d]'),
        ("'/home/me/b, c'", "'.../H/b, c'"),
        ('.../0a/w.pth', '.../0a/w.pth'),
        ('../data/{seed}', '../data/{seed}'),
        ('data/few', 'data/few'),
        ('s3://a/b.pth', 's3://a/b.pth'),
        ('None', 'None'),
        ('0.5', '0.5'),
        ('[1', '[1'),
    ],
)
def test_rows_have_no_folder_of_the_machine(text, told):
    for letter, folder in (('H', '/home/me'), ('T', '~')):
        digest = hashlib.sha256(folder.encode()).hexdigest()[:8]
        told = told.replace(f'.../{letter}/', f'.../{digest}/')
    found = compare_list.without_places(text, json.dumps({'b': text, 'a': ''}))
    assert json.loads(found['options']) == {'a': '', 'b': told}
    if '[' not in text and "'" not in text:  # which no file's name begins by
        assert found['config'] == told


def test_rows_of_earlier_releases_are_still_known(tmp_path):
    run = compare.ListedRun('a', 0, '/x/c.py', {'b': '/y/w', 'a': '1'}, 'w')
    old = a_row('a', 0, '1', config='/x/c.py', options='{"a":"1","b":"/y/w"}')
    assert compare.is_done(run, [old])
    assert compare.is_done(run, [a_row('a', 0, '1', **run.settings)])
    for changed in (
        dict(config='/z/c.py'),
        dict(options='{"a": "1", "b": "/z/w"}'),
        dict(options='{"a": "1"}'),
        dict(options='[1]'),
        dict(options=''),
    ):
        with pytest.raises(ValueError, match='has a result (with|that)'):
            compare.is_done(run, [{**old, **changed}])


def test_rows_of_others_are_kept(tmp_path, main, monkeypatch):
    """Two comparisons share OUT, which has columns of somebody's own."""
    table = tmp_path / 'out.csv'
    table.write_text('method,seed,top1,note\nold,0,50,"by hand, once"\n')
    (tmp_path / 'list.yml').write_text(OF_ONE)

    def other_process(run, cfg, commit):
        """Ends while this one's run is under way."""
        rows = [*read_rows(table), a_row('other', 7, '60.00')]
        compare.write(rows, '', tmp_path / 'out')
        return a_row(run.method, run.seed, '70.00') | run.settings

    monkeypatch.setattr(compare, 'count_all', lambda *_: None)
    monkeypatch.setattr(
        compare,
        'in_processes',
        lambda function, tasks, jobs: ((run, 0) for (run,) in tasks),
    )
    monkeypatch.setattr(compare, 'result', other_process)
    main('list.yml', '--out', 'out')
    found = rows(table)
    assert [row['method'] for row in found] == ['old', 'other', 'A']
    assert [row['note'] for row in found] == ['by hand, once', '', '']
    main('list.yml', '--out', 'out')  # which adds nothing
    assert rows(table) == found


@pytest.mark.parametrize('is_done', [True, False])
def test_a_teacher_that_was_exchanged(tmp_path, capsys, is_done, monkeypatch):
    """Its file is called as before, and its options are the same."""
    monkeypatch.setenv('HOME', str(tmp_path))
    teacher, run_dir = tmp_path / 'teacher.pth', tmp_path / 'csd/seed0'
    teacher.write_bytes(b'one')
    teachers = dict(teacher=dict(ckpt_path='~/teacher.pth'))
    cfg = Config(dict(model=dict(teachers=teachers)))
    run = compare.ListedRun('CSD', 0, 'config.py', {}, run_dir)
    (run_dir / 'bank').mkdir(parents=True)
    (run_dir / 'epoch_1.pth').touch()
    folder = run_dir / '20261129_000000/vis_data'
    folder.mkdir(parents=True)
    (folder / 'config.py').write_text(cfg.pretty_text)
    compare.check_continued(run, cfg, is_done)  # of an earlier release
    note = run_dir.parent / 'seed0.files.json'
    note.write_text(json.dumps(compare.files_of_weights(cfg)))
    compare.check_continued(run, cfg, is_done)
    assert not capsys.readouterr().out
    teacher.write_bytes(b'another')
    said = 'with other settings: model.teachers.teacher.ckpt_path: another'
    if is_done:
        compare.check_continued(run, cfg, is_done)
        assert said in capsys.readouterr().out
    else:
        with pytest.raises(ValueError, match=said):
            compare.check_continued(run, cfg, is_done)
    teacher.unlink()  # which the run itself refuses
    compare.check_continued(run, cfg, True)


def test_a_commit_is_of_this_project(tmp_path, monkeypatch):
    """Not of one in whose environment the package is installed."""
    file = tmp_path / 'venv/csd_mmrazor/cli/compare.py'
    file.parent.mkdir(parents=True)
    subprocess.run(['git', 'init', '-q', tmp_path], check=True)
    monkeypatch.setattr(compare, '__file__', str(file))
    assert compare.git_commit() == f'v{compare.__version__}'

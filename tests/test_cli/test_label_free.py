# Copyright (c) csd_mmrazor developers. All rights reserved.
"""``tools/label_free.py``, on runs of seconds and on rows by hand."""

import sys
from math import nan

import pytest
import torch
from helpers import ROOT, build, network

from csd_mmrazor.cli import label_free
from csd_mmrazor.datasets import Digits
from csd_mmrazor.engine.hooks import AgreementHook
from csd_mmrazor.engine.student_choice import parse_rule
from csd_mmrazor.utils import load_file


def row(task, epoch, student, top1, **signals):
    empty = dict.fromkeys(label_free.COLUMNS, '')
    values = dict(task=task, variant='v', seed='0', epoch=str(epoch))
    values.update(student=student, top1=str(top1), teacher_top1='90')
    values['recognised'] = '55.0'
    return {**empty, **values, **{k: str(v) for k, v in signals.items()}}


# The best student is the mean of epoch 2, and of the last ones the third.
ROWS = [
    row('a', 1, 'last', 10, held_out_top1=30, held_out_kl=3, seen_top1=nan),
    row('a', 1, 'mean', 5, held_out_top1=20, held_out_kl=4, seen_top1=nan),
    row('a', 2, 'last', 40, held_out_top1=80, held_out_kl=1, seen_top1=1),
    row('a', 2, 'mean', 60, held_out_top1=70, held_out_kl=0.5, seen_top1=2),
    row('a', 3, 'last', 50, held_out_top1=60, held_out_kl=2, seen_top1=9),
    row('a', 3, 'mean', 55, held_out_top1=60, held_out_kl=2, seen_top1=9),
]


@pytest.mark.parametrize(
    'rule, regret, correlation',
    [
        ('last', 10, nan),
        ('mean', 5, nan),
        # Ranks of the last ones: 1, 3, 2 against 1, 2, 3.
        ('held_out.top1', 20, 0.5),
        ('held_out.kl', 0, 0.5),
        # As good: the mean. NaN is the worst.
        ('seen.top1', 5, 1),
    ],
)
def test_what_a_rule_costs(rule, regret, correlation):
    found = label_free.cost_of(rule, [ROWS])
    assert (found.regret, found.worst) == (regret, regret)
    assert found.correlation == pytest.approx(correlation, nan_ok=True)
    # Over runs.
    halved = [dict(r, top1=f'{float(r["top1"]) / 2}') for r in ROWS]
    found = label_free.cost_of(rule, [ROWS, halved])
    assert (found.regret, found.worst) == (0.75 * regret, regret)
    assert found.correlation == pytest.approx(correlation, nan_ok=True)


def test_runs_and_students():
    other = [dict(r, seed='1') for r in ROWS]
    assert [len(r) for r in label_free.runs_of(ROWS + other).values()] == [
        6,
        6,
    ]
    rows = [
        dict(r, held_out_confident=str(float(r['held_out_top1']) + 5))
        for r in ROWS
    ]
    found = label_free.students_of(rows, 'held_out')
    assert found[2] == ('a', 85, 40, 90) and len(found) == 6
    # Older rows do not have it.
    found = label_free.students_of(ROWS[:2] + rows[2:], 'held_out')
    assert len(found) == 4
    # Images that are none of the teacher's classes tell nothing.
    poor = [dict(r, recognised='29.9') for r in rows[:4]]
    found = label_free.students_of(poor + rows[4:], 'held_out')
    assert [s.top1 for s in found] == [50, 55]


@pytest.mark.parametrize('tasks', ['a', 'abc', 'abcd'])
def test_the_estimate_takes_some_tasks(tasks):
    """The rules are told of any; --tasks may leave one."""
    sure = dict(held_out_confident='50', seen_confident='60')
    rows = [dict(r, task=task, **sure) for task in tasks for r in ROWS]
    lines = label_free.summary(rows)
    assert lines[2].startswith('| `')
    is_told = lines[-1] == (
        f'An estimate needs 4 tasks or more; these rows have {len(tasks)}.'
    )
    assert is_told == (len(tasks) < 4)
    assert any('Fit(' in line for line in lines) != is_told


@pytest.fixture
def listed(tiny_config, tmp_path, monkeypatch):
    """Run the tool on a list of one tiny task."""
    cfg = tiny_config(
        **{
            'train_dataloader.dataset.held_out': 0.25,
            'default_hooks.synthesis.grid_images': 0,
        }
    )
    for name in ('experiment_name', 'work_dir', 'launcher'):
        cfg.pop(name)
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'list.yml').write_text(
        'seeds: [3]\nvariants: {v: {train_cfg.max_epochs: 2}}\n'
        f'tasks: {{a: {{config: {tmp_path / "config.py"}}}}}\n'
    )

    def run(*argv):
        out = tmp_path / 'rows.csv'
        monkeypatch.setattr(
            sys, 'argv', ['tool', *map(str, argv), '--out', str(out)]
        )
        label_free.measure(label_free.parse_args())
        return label_free.read_rows(out)

    return run


def test_the_rows_of_a_run(listed, tmp_path):
    argv = (tmp_path / 'list.yml', '--work-dir', tmp_path / 'runs')
    rows = listed(*argv)
    about = [(r['task'], r['variant'], r['seed'], r['epoch']) for r in rows]
    assert about == 2 * [('a', 'v', '3', '1')] + 2 * [('a', 'v', '3', '2')]
    assert [r['student'] for r in rows] == 2 * ['last', 'mean']
    for each in rows:
        for signal in label_free.SIGNALS:
            assert float(each[signal]) >= 0
        assert 0 <= float(each['recognised']) <= 100
        # An untrained teacher may be sure of none.
        assert 0 <= float(each['held_out_confident'] or 0) <= 100
    # The truth, by other means.
    (work,) = (tmp_path / 'runs').glob('a_v_3')
    saved = load_file(work / 'epoch_2.pth')
    student = build(network()).eval()
    prefix = 'architecture.'
    student.load_state_dict(
        {
            key[len(prefix) :]: value
            for key, value in saved['state_dict'].items()
            if key.startswith(prefix)
        }
    )
    digits = Digits(split='test', pipeline=[])
    items = [digits[i] for i in range(len(digits))]
    images = torch.stack([torch.as_tensor(i['img']) for i in items]).float()
    labels = torch.tensor([int(i['gt_label']) for i in items])
    with torch.no_grad():
        inputs = (images.reshape(-1, 1, 8, 8) - 77.9) / 95.9
        right = student(inputs, mode='tensor').argmax(1) == labels
    assert rows[2]['top1'] == f'{100 * right.double().mean().item():.2f}'
    # Runs that have rows are not made again.
    assert listed(*argv) == rows
    assert len([*work.glob('*/vis_data')]) == 1
    # Those that were interrupted have none, and cannot go on.
    (tmp_path / 'rows.csv').unlink()
    with pytest.raises(FileExistsError, match='a_v_3 has a run whose rows'):
        listed(*argv)


@pytest.mark.parametrize(
    'text, message',
    [
        ('[]', 'names no tasks'),
        ('tasks: {}', 'names no tasks'),
        ('tasks: {a: {}}', 'Task a of'),
        (
            'variants: {b_c: {}, c: {}}\n'
            'tasks: {a: {config: c}, a_b: {config: c}}',
            'share the folder a_b_c_SEED',
        ),
        ('tasks: {a: {config: c, optoins: {}}}', 'has optoins, which means'),
        ('seed: [1]\ntasks: {a: {config: c}}', 'has seed, which means'),
        (
            'tasks: {a: {config: c, teacher: {config: c}}}',
            'teacher of a .* name of the checkpoint',
        ),
        (
            'variants: {v: {}}\ntasks: {a: {config: c, variants: [w]}}',
            'Task a of .* the variants w, .* it has v',
        ),
        ('tasks: [', 'is not a list in YAML'),
        ('tasks: {a: {config: c}}\ntasks: {}', 'tasks is there twice'),
        ('tasks: {a: {config: c}}\n2: 3\nb: 4', 'has 2, b, which means noth'),
        ('seeds: 3\ntasks: {a: {config: c}}', r'seeds should be .*, .* 3\.'),
        ('variants: [v]\ntasks: {a: {config: c}}', 'variants should be as'),
        (
            'variants: {v: 1}\ntasks: {a: {config: c}}',
            'A variant of .* options',
        ),
        ('tasks: {a: {config: c, seeds: 1}}', 'Task a of .* seeds should be'),
        ('tasks: {a: {config: c, variants: v}}', 'Task a of .* variants sh'),
        ('tasks: {a: {config: c, options: [1]}}', 'Task a of .* options sh'),
        ('tasks: {a: {config: c, teacher: c.py}}', 'Task a of .* teacher sh'),
        ('tasks: {a: {config: 5}}', "Task a of .* is {'config': 5}, but"),
        ('tasks: {a: {config: c, options: {1: 2}}}', 'dotted .* got 1'),
        ('tasks: {a: {config: c, variants: [[v]]}}', r"variants \['v'\]"),
        (
            'tasks: {a: {config: c, teacher: {config: c, checkpoint: [x]}}}',
            'teacher of a .* name of the checkpoint',
        ),
        ('tasks: {1: {config: c}}', 'name of a task .* reads 1: write it in'),
        ('tasks: {../a: {config: c}}', "name of a task .* got '../a'"),
        ('tasks: {"a\\e[1m": {config: c}}', r"name of a task .*'a\\x1b"),
        ('seeds: [a]\ntasks: {a: {config: c}}', "of seeds .* got 'a'"),
        ('tasks: {a: {config: c, seeds: [-1]}}', 'of seeds of task a .* -1'),
        ('seeds: [0, 0]\ntasks: {a: {config: c}}', 'seeds of .* has 0 twice'),
    ],
)
def test_lists_that_are_none(tmp_path, text, message):
    path = tmp_path / 'list.yml'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        label_free.read_tasks(path)


def test_a_bank_that_holds_out_nothing_is_told_first(tmp_path):
    path = tmp_path / 'list.yml'
    config = ROOT / 'configs/csd/csd_quickstart_digits.py'
    path.write_text(f'tasks: {{a: {{config: {config}}}}}')
    (task,) = label_free.read_tasks(path)
    with pytest.raises(ValueError, match='dataset.held_out: 0.1'):
        label_free.run_config_of('here', task, ({}, {}))
    options = {'train_dataloader.dataset.held_out': 0.1}
    cfg = label_free.run_config_of('here', task, (options, {}))
    assert cfg.train_dataloader.dataset.held_out == 0.1


def test_a_list_that_is_not_there():
    with pytest.raises(FileNotFoundError, match='list cannot be read.*no.yml'):
        label_free.read_tasks('no.yml')


def test_tasks_have_seeds_and_variants_of_their_own(tmp_path):
    path = tmp_path / 'list.yml'
    path.write_text(
        'seeds: [0, 1]\nvariants: {v: {}, w: {}}\ntasks:\n'
        '  a: {config: c}\n  b: {config: c, seeds: [2], variants: [w]}\n'
    )
    runs = [
        (run['task'], run['variant'], run['seed'])
        for run in label_free.read_tasks(path)
    ]
    of_a = [('a', v, seed) for v in 'vw' for seed in (0, 1)]
    assert runs == [*of_a, ('b', 'w', 2)]
    assert [r['task'] for r in label_free.read_tasks(path, ['b'])] == ['b']
    with pytest.raises(ValueError, match='--tasks: .* no c; it has a, b'):
        label_free.read_tasks(path, ['a', 'c'])


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(top1='much'), "Row 3 of .*csv has top1='much'"),
        (dict(recognised=''), "Row 3 of .*csv has recognised=''"),
        (dict(seen_kl='x'), "Row 3 of .*csv has seen_kl='x'"),
        (dict(epoch='1.5'), "Row 3 of .*csv has epoch='1.5'"),
        (None, 'Row 3 of .*csv has other columns'),
    ],
)
def test_rows_that_are_none(changes, message, tmp_path):
    path = tmp_path / 'a.csv'
    label_free.write_rows(path, ROWS[:2])
    assert len(label_free.read_rows(path)) == 2
    label_free.write_rows(path, [ROWS[0], {**ROWS[1], **(changes or {})}])
    if changes is None:  # cut short
        path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match=message):
        label_free.read_rows(path)


@pytest.mark.parametrize('content', [b'a,\xff\n', b'a' * 200_000])
def test_what_is_no_table(content, tmp_path):
    (tmp_path / 'a.csv').write_bytes(content)
    with pytest.raises(ValueError, match='a.csv is no table of rows'):
        label_free.read_rows(tmp_path / 'a.csv')


class NoRunner:
    """Notes what would be run."""

    def __init__(self, cfg, folder):
        self.started.append((folder.name, cfg))

    def register_hook(self, hook):
        pass

    def train(self):
        pass


def test_options_of_the_command_line(listed, tmp_path, monkeypatch):
    """They count in place of those of the list, for runs or for teachers."""
    path, started = tmp_path / 'list.yml', []
    monkeypatch.setattr(NoRunner, 'started', started, raising=False)
    monkeypatch.setattr(label_free, '_start', NoRunner)
    argv = (path, '--work-dir', tmp_path, '--cfg-options')
    folder = 'val_dataloader.dataset.img_size'
    wrong = 'teacher.train_cfg.max_epochs=9'
    with pytest.raises(ValueError, match='none of these tasks trains one'):
        listed(*argv, wrong)
    config = tmp_path / 'config.py'
    path.write_text(
        'seeds: [3]\nvariants: {v: {train_cfg.max_epochs: 2}}\ntasks:\n'
        f'  a: {{config: {config}}}\n  b:\n    config: {config}\n'
        '    options: &options {val_dataloader.dataset: {img_size: 7}}\n'
        '    teacher:\n'
        f'      {{config: {config}, options: *options, checkpoint: a.pth}}\n'
    )
    for option, message in (
        ('train_cgf.max_epochs=9', 'task a, .*train_cgf.*mean train_cfg'),
        ('train_cfg.max_epochs=no', 'task a, .*max_epochs should be an int'),
        ('val_dataloader=None val_cfg=None val_evaluator=None', 'has no val_'),
        ('model.type=SingleTeacherDistill', 'it is no run of CSDDistillation'),
        ('randomness.seed=5', 'has randomness.seed, which the list sets'),
    ):
        with pytest.raises(ValueError, match=message):
            listed(*argv, *option.split())
    assert not started
    listed(*argv, wrong, f'{folder}=9', '--tasks', 'b')
    (teacher, of_teacher), (run, cfg) = started
    assert (teacher, run) == ('b_teacher', 'b_v_3')
    assert cfg.train_cfg.max_epochs == 2
    assert of_teacher.train_cfg.max_epochs == 9
    assert cfg.val_dataloader.dataset.img_size == 9
    assert of_teacher.val_dataloader.dataset.img_size == 7
    path = cfg.model.teachers.teacher.ckpt_path
    assert path == str(tmp_path / 'b_teacher/a.pth')


@pytest.mark.parametrize('argv', [[], ['a.yml', '--summary']])
def test_a_list_or_the_rows(monkeypatch, capsys, argv):
    monkeypatch.setattr(sys, 'argv', ['tool', *argv, '--out', 'a.csv'])
    with pytest.raises(SystemExit):
        label_free.parse_args()
    assert 'give a LIST.yml, or --summary' in capsys.readouterr().err


def test_the_page_says_what_the_rows_say():
    page = (ROOT / 'docs/label_free.md').read_text()
    rows = label_free.read_rows(ROOT / 'docs/results/label_free.csv')
    lines = label_free.summary(rows)
    for line in lines:
        assert line.startswith('    ') or line in page, line
    runs = [*label_free.runs_of(rows).values()]
    assert len({r[0]['task'] for r in runs}) >= 3
    assert len({r[0]['teacher_top1'] for r in runs}) >= 3
    # The rule that is in use is the one that came nearest to the truth, and
    # its error is told.
    rules = [line.split('`')[1] for line in lines[2:] if line[:3] == '| `']
    costs = {rule: label_free.cost_of(rule, runs) for rule in rules}
    best = min(costs, key=lambda rule: costs[rule].regret)
    assert parse_rule(best) == AgreementHook().rule
    told = [f'{costs[best].regret:.2f} points', f'{costs[best].worst:.2f} at']
    for text in (page, AgreementHook.__doc__):
        assert all(each in ' '.join(text.split()) for each in told)


def test_the_teacher_that_is_trained_has_a_place(tiny_config, tmp_path):
    cfg = tiny_config(**{'train_dataloader.dataset.held_out': 0.25})
    cfg.model.teachers = dict(other=cfg.model.teachers.teacher)
    cfg.dump(tmp_path / 'config.py')
    task = dict(config=str(tmp_path / 'config.py'), teacher=dict(checkpoint=1))
    message = 'task a, .*config.py: model.teachers should .* but has other'
    with pytest.raises(ValueError, match=message):
        label_free.run_config_of('task a', task, ({}, {}))

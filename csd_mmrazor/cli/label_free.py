# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Measure how far choices without labels are from the truth.

    python tools/label_free.py LIST.yml --out work_dirs/label_free.csv

The list is a YAML file of tasks, each a config of a run with validation::

    seeds: [0, 1]
    variants:                 # options of all tasks, by name
      cosine: {}
    tasks:
      digits:
        config: configs/csd/csd_quickstart_digits.py
        options:
          train_cfg.max_epochs: 10
          train_dataloader.dataset.held_out: 0.1
        teacher:              # trained first, if its checkpoint is not there
          config: configs/teachers/resnet_digits.py
          options: {train_cfg.max_epochs: 3}
          checkpoint: epoch_3.pth
        seeds: [0]            # in place of those of all tasks, as are
        variants: [cosine]    # variants, by name

After each epoch the student and the running mean of its weights are compared
with the teacher on synthetic images, by ``AgreementHook``, and tested on the
validation images, which nothing else looks at. OUT.csv gets a row for each
epoch and student; runs that are in it are not made again. What the rules cost
is printed from the rows: --summary does only that.

``--cfg-options KEY=VALUE`` counts for each run, in place of what the list sets
there, and ``teacher.KEY=VALUE`` for the training of its teacher. Rows do not
tell of it: it is there to name files that are elsewhere.
"""

import argparse
import csv
import io
import math
import uuid
from copy import deepcopy
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
import torch.nn as nn
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from scipy import stats
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..engine import AgreementHook
from ..engine.agreement_images import spread
from ..engine.measure import unnoticed
from ..engine.student_choice import (
    CANDIDATES,
    METRICS,
    SETS,
    History,
    choose,
    parse_rule,
)
from ..models.synthesizers import Networks
from ..models.utils import logits_of
from ..utils import check_integer, write_file
from ..utils.accuracy import (
    FITS,
    RECOGNISED,
    Student,
    fit_accuracy,
    left_out,
)
from ..utils.alone import check_alone
from ..utils.config_files import read_config
from ..utils.error_text import named_error
from ..utils.plain_yaml import read_yaml
from ..utils.sections import check_sections
from .compare import git_commit, locked, releases
from .compare_list import check_text
from .config import check_training, is_csd, merge_options
from .errors import USER_ERRORS, concise_errors
from .options import Options, check_option
from .parser import Parser
from .processes import speak_utf8

SIGNALS = [f'{name}_{metric}' for name in SETS for metric in METRICS]
COLUMNS = [
    'task',
    'variant',
    'student',  # last or mean
    'epoch',
    'seed',
    'top1',  # on real images, which chose nothing
    'teacher_top1',
    'classes',
    'recognised',  # held-out images that the teacher takes for their label
    *SIGNALS,
    # Agreement on those of them that the teacher is sure of.
    'held_out_confident',
    'seen_confident',
    'commit',
    'versions',
]
# Of these, what each row has a number in, and what it may have none in.
_NUMBERS = ('top1', 'teacher_top1', 'recognised')
_NUMBERS_OR_NOTHING = (*SIGNALS, 'held_out_confident', 'seen_confident')
Row = Dict[str, Any]
# Options by dotted name, and their texts.
Given = Tuple[Dict[str, Any], Dict[str, str]]
# Options of the command line that begin with it are for teachers.
_TEACHER = 'teacher.'
# Real images by which a student is tested, at most, from all over.
_TESTED = 2000
# What parts of a list are, and how they are written.
_KINDS = dict(
    seeds=(list, '[0, 1]'),
    variants=(dict, '{NAME: {}}'),
    options=(dict, '{KEY: VALUE}'),
    teacher=(dict, '{config: FILE, checkpoint: NAME}'),
)
_KINDS_OF_TASK = {**_KINDS, 'variants': (list, '[NAME]')}
# What their names may not have.
_UNWANTED = '|/'
# Tasks that the estimate is fitted on and measured by, at least.
_FEWEST_TASKS = 4


class TruthHook(Hook):
    """Tests the students of each epoch on real images, for the rows."""

    # After AgreementHook.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.rows: List[Row] = []
        self._batches: List[Tuple[Tensor, Tensor]] = []
        self._teacher_top1: Optional[float] = None

    def before_train(self, runner: Runner) -> None:
        """Read the images, and test the teacher."""
        preprocessor = runner.model.data_preprocessor
        loader = runner.val_dataloader
        chosen = spread(np.arange(len(loader.dataset)), _TESTED).tolist()
        images = Subset(loader.dataset, chosen)
        for data in DataLoader(images, 250, collate_fn=loader.collate_fn):
            batch = preprocessor(data, False)
            labels = torch.cat([s.gt_label for s in batch['data_samples']])
            self._batches.append((batch['inputs'], labels))
        networks = Networks.from_algorithm(runner.model)
        self._teacher_top1 = self._top1(networks.each_teacher[0])

    def after_train_epoch(self, runner: Runner) -> None:
        """Test the students that were measured."""
        (hook,) = (h for h in runner.hooks if isinstance(h, AgreementHook))
        epoch, bank = runner.epoch + 1, runner.train_dataloader.dataset
        for who, student in hook.students(runner).items():
            signals = {
                f'{name}_{metric}': f'{value:.5g}'
                for name, found in hook.history[epoch][who].items()
                for metric, value in found.items()
                if f'{name}_{metric}' in COLUMNS
            }
            share = hook.history[epoch][who]['held_out']['recognised']
            row = dict(
                epoch=epoch,
                student=who,
                top1=f'{self._top1(student):.2f}',
                teacher_top1=f'{self._teacher_top1:.2f}',
                classes=bank.opened.num_classes,
                recognised=f'{share:.1f}',
                **signals,
            )
            self.rows.append(row)

    def _top1(self, model: nn.Module) -> float:
        right = count = 0
        with unnoticed(model):
            for inputs, labels in self._batches:
                decided = logits_of(model(inputs, mode='tensor')).argmax(1)
                right += int((decided == labels).sum())
                count += len(labels)
        return 100 * right / count


def parse_args() -> argparse.Namespace:
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('list', nargs='?', help='YAML file of tasks')
    parser.add_argument('--out', required=True, metavar='OUT.csv')
    parser.add_argument(
        '--work-dir',
        default='work_dirs/label_free',
        help='of all runs; default: work_dirs/label_free',
    )
    parser.add_argument('--summary', action='store_true', help='make no runs')
    parser.add_argument(
        '--tasks', nargs='+', help='only these tasks of the list'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='for all runs, in place of what the list sets there, such as\n'
        'val_dataloader.dataset.data_root=FOLDER; for the training of\n'
        'teachers: teacher.KEY=VALUE',
    )
    args = parser.parse_args()
    if (args.list is None) != args.summary:
        parser.error('give a LIST.yml, or --summary for the rows there are')
    return args


def read_tasks(
    path: str, only: Optional[Sequence[str]] = None
) -> List[Dict[str, Any]]:
    """The runs that a list asks for.

    Args:
        path (str): The list.
        only (sequence[str], optional): Tasks of it. Defaults to None, all.

    Raises:
        OSError: If the list cannot be read.
        ValueError: If it makes no sense, or has no such task; says where.
    """
    plan = read_yaml(path)
    shape = 'tasks: {NAME: {config: FILE, options: {}, teacher: {}}}'
    tasks = plan.get('tasks') if isinstance(plan, dict) else None
    if not isinstance(tasks, dict) or not tasks:
        raise ValueError(f'{path} names no tasks: write {shape}.')
    known = {'config', 'options', 'teacher', 'seeds', 'variants'}
    unknown = set(map(str, plan)) - {'tasks', 'seeds', 'variants'}
    _check_kinds(plan, path, _KINDS)
    _check_seeds(plan, path)
    for name, each in (plan.get('variants') or {}).items():
        check_text(f'The name of a variant of {path}', name, _UNWANTED)
        _check_kinds(dict(options=each), f'A variant of {path}', _KINDS)
    for name, task in tasks.items():
        check_text(f'The name of a task of {path}', name, _UNWANTED)
        if not isinstance(task, dict) or not _is_text(task, 'config'):
            raise ValueError(
                f'Task {name} of {path} is {task!r:.100}, but should be as in '
                f'{shape}.'
            )
        unknown |= set(map(str, task)) - known
        _check_kinds(task, f'Task {name} of {path}', _KINDS_OF_TASK)
        _check_seeds(task, f'task {name} of {path}')
        teacher = task.get('teacher')
        if teacher:
            _check_kinds(teacher, f'The teacher of {name} of {path}', _KINDS)
        if teacher and not (
            _is_text(teacher, 'config') and _is_text(teacher, 'checkpoint')
        ):
            raise ValueError(
                f'The teacher of {name} of {path} needs a config, and the '
                'name of the checkpoint that it leaves.'
            )
    if unknown:
        raise ValueError(
            f'{path} has {", ".join(sorted(unknown))}, which means nothing: '
            'it has seeds, variants and tasks, and each task config, options, '
            'teacher, seeds and variants.'
        )
    lacking = {*(only or [])} - {*tasks}
    if lacking:
        raise ValueError(
            f'--tasks: {path} has no {", ".join(sorted(lacking))}; it has '
            f'{", ".join(tasks)}.'
        )
    variants = plan.get('variants') or {'': {}}
    for options in (
        *variants.values(),
        *(task.get('options') for task in tasks.values()),
    ):
        if 'randomness.seed' in (options or {}):
            raise ValueError(
                f'{path} has the option randomness.seed, which its seeds set.'
            )
    for name, task in tasks.items():
        named = task.get('variants') or []
        lacking = [each for each in named if each not in [*variants]]
        if lacking:
            raise ValueError(
                f'Task {name} of {path} has the variants '
                f'{", ".join(map(str, lacking))}, which the list does not: it '
                f'has {", ".join(variants)}.'
            )
        _check_once('variants', named, f'task {name} of {path}')
    folders = [
        f'{name}_{variant}'  # with the seed
        for name, task in tasks.items()
        for variant in task.get('variants') or variants
    ]
    for each in folders:
        if folders.count(each) > 1:
            raise ValueError(
                f'Two tasks of {path} would share the folder {each}_SEED, by '
                'the names of their tasks and variants: rename one.'
            )
    return [
        dict(
            task=name,
            variant=variant,
            seed=seed,
            config=task['config'],
            teacher=task.get('teacher'),
            options={
                **(task.get('options') or {}),
                **(variants[variant] or {}),
                'randomness.seed': seed,
            },
        )
        for name, task in tasks.items()
        if name in (only or tasks)
        for variant in task.get('variants') or variants
        for seed in task.get('seeds') or plan.get('seeds') or [0]
    ]


def _check_kinds(
    part: Dict[str, Any], where: str, kinds: Dict[str, Tuple[type, str]]
) -> None:
    """Check that lists and dicts of a list are such. None is fine, too."""
    for name, (kind, text) in kinds.items():
        value = part.get(name)
        if value is not None and not isinstance(value, kind):
            raise ValueError(
                f'{where}: {name} should be as in {text}, but got '
                f'{value!r:.100}.'
            )
    for key in part.get('options') or ():
        if not isinstance(key, str):
            raise ValueError(
                f'{where}: options should have dotted names of a config, but '
                f'got {key!r:.100}.'
            )


def _check_seeds(part: Dict[str, Any], where: str) -> None:
    seeds = part.get('seeds') or []
    for seed in seeds:
        check_integer(f'Each of seeds of {where}', seed, 0)
    _check_once('seeds', seeds, where)


def _check_once(name: str, values: Sequence[Any], where: str) -> None:
    twice = [each for each in values if values.count(each) > 1]
    if twice:
        raise ValueError(f'{name} of {where} has {twice[0]} twice.')


def _is_text(part: Dict[str, Any], name: str) -> bool:
    return isinstance(part.get(name), str)


def given_options(args: argparse.Namespace, of_teachers: bool) -> Given:
    """The options of the command line for runs, or for their teachers."""
    values, texts = (
        {
            key.removeprefix(_TEACHER): value
            for key, value in each.items()
            if key.startswith(_TEACHER) == of_teachers
        }
        for each in (
            args.cfg_options or {},
            getattr(args, 'cfg_options_texts', {}),
        )
    )
    return values, texts


def config_of(where: str, part: Dict[str, Any], given: Given) -> Config:
    """The config of a run, or of the training of a teacher.

    Args:
        where (str): What messages call it.
        part (dict): Its ``config`` and ``options``, as the list has them.
        given (tuple): What counts in place of these.

    Raises:
        ValueError: If it could not run; says which it is.
    """
    try:
        cfg = read_config(part['config'])
        options = deepcopy(part.get('options') or {})
        for name in options:
            check_option(cfg, name)
        cfg.merge_from_dict(options)
        merge_options(cfg, *given)
        check_sections(cfg)
        cfg.launcher = 'none'
        check_training(deepcopy(cfg))
    except USER_ERRORS as error:
        text = named_error(error).replace('--cfg-options: ', 'options: ')
        raise ValueError(f'{where}, {part["config"]}: {text}') from error
    return cfg


def run_config_of(where: str, task: Dict[str, Any], given: Given) -> Config:
    """The config of a run; arguments as of :func:`config_of`.

    Raises:
        ValueError: If it could not run, or nothing could be measured of it.
    """
    cfg = config_of(where, task, given)
    if not is_csd(cfg) or 'synthesis' not in cfg.get('default_hooks', {}):
        raise ValueError(
            f'{where}, {task["config"]}: it is no run of CSDDistillation '
            'with a SynthesisHook as default_hooks.synthesis, which make the '
            'images that students are compared on.'
        )
    if task.get('teacher') and 'teacher' not in cfg.model.teachers:
        raise ValueError(
            f'{where}, {task["config"]}: model.teachers should have a '
            '"teacher", which gets the weights of the one that is trained, '
            f'but has {", ".join(cfg.model.teachers)}.'
        )
    if not cfg.get('val_dataloader'):
        raise ValueError(
            f'{where}, {task["config"]}: it has no val_dataloader, whose '
            'images show how good a choice was.'
        )
    if not cfg.train_dataloader.dataset.get('held_out'):
        raise ValueError(
            f'{where}, {task["config"]}: its bank holds out no images, on '
            'which students are compared. Add the option '
            'train_dataloader.dataset.held_out: 0.1.'
        )
    return cfg


def train(cfg: Config, folder: Path) -> List[Row]:
    """Make a run, and return its rows."""
    cfg.default_hooks.agreement = dict(
        type='mmrazor.AgreementHook', sets=list(SETS), always=True
    )
    # The truth is for the rows alone.
    cfg.train_cfg.val_begin = cfg.train_cfg.max_epochs + 1
    cfg.default_hooks.synthesis.rehearsal = False
    cfg.default_hooks.checkpoint.save_best = None
    for name in ('report', 'export', 'stall', 'aux_probe'):
        cfg.default_hooks.pop(name, None)
    runner = _start(cfg, folder)
    truth = TruthHook()
    runner.register_hook(truth)
    runner.train()
    return truth.rows


def _start(cfg: Config, folder: Path) -> Runner:
    cfg.work_dir, cfg.launcher = str(folder), 'none'
    cfg.experiment_name = uuid.uuid4().hex
    return Runner.from_cfg(cfg)


def read_rows(path: Path) -> List[Row]:
    """Rows of a CSV file, if it is there."""
    if not path.is_file():
        return []
    try:
        with open(path, encoding='utf-8', newline='') as file:
            rows = [*csv.DictReader(file)]
    except (csv.Error, ValueError) as error:
        raise ValueError(f'{path} is no table of rows: {error}.') from error
    for number, row in enumerate(rows, 2):
        if set(row) != set(COLUMNS) or None in row.values():
            raise ValueError(
                f'Row {number} of {path} has other columns than these runs.'
            )
        for name in (*_NUMBERS, *filter(row.get, _NUMBERS_OR_NOTHING)):
            try:
                float(row[name])
            except ValueError:
                raise ValueError(
                    f'Row {number} of {path} has {name}={row[name]!r:.80}, '
                    'which is no number.'
                ) from None
        if not row['epoch'].isdecimal():
            raise ValueError(
                f'Row {number} of {path} has epoch={row["epoch"]!r:.80}, '
                'which is no integer.'
            )
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a CSV file, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode())


def measure(args: argparse.Namespace) -> None:
    """Make the runs that have no rows yet."""
    out, work_dir = Path(args.out), Path(args.work_dir)
    rows = read_rows(out)
    tasks = read_tasks(args.list, args.tasks)
    given, of_teachers = (given_options(args, each) for each in (False, True))
    if of_teachers[0] and not any(task['teacher'] for task in tasks):
        raise ValueError(
            f'--cfg-options {_TEACHER}{[*of_teachers[0]][0]} is for the '
            'training of a teacher, but none of these tasks trains one.'
        )
    if 'randomness.seed' in given[0]:
        raise ValueError(
            '--cfg-options has randomness.seed, which the list sets for each '
            'run: its rows would name another seed.'
        )
    # What is wrong with one is told before any run starts.
    configs = [
        (
            run_config_of(f'task {task["task"]}', task, given),
            task['teacher']
            and config_of(
                f'the teacher of {task["task"]}', task['teacher'], of_teachers
            ),
        )
        for task in tasks
    ]
    waiting = []
    for task, config in zip(tasks, configs):
        about = {key: str(task[key]) for key in ('task', 'variant', 'seed')}
        if any(about.items() <= row.items() for row in rows):
            continue
        folder = work_dir / '_'.join(about.values())
        if folder.exists():
            raise FileExistsError(
                f'{folder} has a run whose rows are not in {out}: it was '
                'interrupted, and what was measured of it is lost. Delete the '
                'folder, or choose another --work-dir.'
            )
        waiting.append((task, *config, about, folder))
    for task, cfg, teacher, about, of_run in waiting:
        if teacher:
            folder = work_dir / f'{task["task"]}_teacher'
            path = folder / task['teacher']['checkpoint']
            if not path.is_file():
                _start(teacher, folder).train()
            cfg.model.teachers.teacher.ckpt_path = str(path)
        found = train(cfg, of_run)
        about.update(commit=git_commit(), versions=releases())
        out.parent.mkdir(parents=True, exist_ok=True)
        with locked(out.parent):  # others may write to it as well
            write_rows(
                out, read_rows(out) + [{**row, **about} for row in found]
            )


class Cost(NamedTuple):
    """What a rule costs, over runs."""

    rule: str
    regret: float  # points below the best student of a run, in the mean
    worst: float  # of one run
    # Spearman's, over the epochs of a run, of its last students; the mean of
    # runs. NaN for a rule that compares nothing.
    correlation: float


def runs_of(rows: Sequence[Row]) -> Dict[Tuple[str, str, str], List[Row]]:
    """Rows of each run."""
    runs: Dict[Tuple[str, str, str], List[Row]] = {}
    for row in rows:
        key = row['task'], row['variant'], row['seed']
        runs.setdefault(key, []).append(row)
    return runs


def cost_of(rule: str, runs: Sequence[Sequence[Row]]) -> Cost:
    """How far a rule is from the truth.

    Args:
        rule (str): As of ``AgreementHook``.
        runs (sequence[sequence[dict]]): Rows of each run.
    """
    parsed, regrets, correlations = parse_rule(rule), [], []
    for rows in runs:
        history: History = {}
        truth = {}
        for row in rows:
            epoch, who = int(row['epoch']), row['student']
            truth[epoch, who] = float(row['top1'])
            sets = history.setdefault(epoch, {}).setdefault(who, {})
            for signal in SIGNALS:
                if row[signal]:
                    name, _, metric = signal.rpartition('_')
                    sets.setdefault(name, {})[metric] = float(row[signal])
        chosen = choose(history, parsed)
        assert chosen is not None, 'a run has epochs'
        best = max(truth.values())
        regrets.append(best - truth[chosen.epoch, chosen.candidate])
        if parsed.images is not None:
            epochs = sorted(history)
            scores = [parsed.score(history[e]['last']) for e in epochs]
            true = [truth[epoch, 'last'] for epoch in epochs]
            found = stats.spearmanr(scores, true, nan_policy='omit')
            correlations.append(float(found.statistic))
    mean = float(np.mean(correlations)) if correlations else math.nan
    return Cost(rule, float(np.mean(regrets)), max(regrets), mean)


def students_of(rows: Sequence[Row], images: str) -> List[Student]:
    """What the estimate of accuracy is fitted on."""
    return [
        Student(
            row['task'],
            float(row[f'{images}_confident']),
            float(row['top1']),
            float(row['teacher_top1']),
        )
        for row in rows
        # Older rows do not have it.
        if row[f'{images}_confident']
        and float(row['recognised']) >= RECOGNISED
    ]


def summary(rows: Sequence[Row]) -> List[str]:
    """What the rows say, in Markdown."""
    runs = runs_of(rows)
    kinds = {'all': [*runs.values()]}
    for (_, variant, _), each in runs.items():
        kinds.setdefault(variant, []).append(each)
    rules = [*CANDIDATES, *(f'{s}.{m}' for s in SETS for m in METRICS)]
    table = {
        kind: {rule: cost_of(rule, some) for rule in rules}
        for kind, some in kinds.items()
    }
    head = [f'regret, {k} ({len(v)} runs)' for k, v in kinds.items()]
    lines = [
        f'| rule | {" | ".join(head)} | worst run | rank correlation |',
        '| --- |' + ' --- |' * (len(kinds) + 2),
    ]
    for rule in sorted(rules, key=lambda r: table['all'][r].regret):
        cost = table['all'][rule]
        cells = [f'{table[kind][rule].regret:.2f}' for kind in kinds]
        correlation = (
            '' if math.isnan(cost.correlation) else f'{cost.correlation:.2f}'
        )
        lines.append(
            f'| `{rule}` | {" | ".join(cells)} | {cost.worst:.2f} | '
            f'{correlation} |'
        )
    students = students_of(rows, 'held_out')
    tasks = min(
        len({s.task for s in students_of(rows, images)}) for images in FITS
    )
    if tasks < _FEWEST_TASKS:
        what = f'{_FEWEST_TASKS} tasks or more'
        return [
            *lines,
            '',
            f'An estimate needs {what}; these rows have {tasks}.',
        ]
    lines += [
        '',
        '| task left out | students | accuracy, % | error, points | within |',
        '| --- | --- | --- | --- | --- |',
    ]
    for task, found in left_out(students).items():
        top1 = [s.top1 for s in students if s.task == task]
        lines.append(
            f'| {task} | {found.students} | {min(top1):.0f} to '
            f'{max(top1):.0f} | {found.error:.1f} | {found.covered:.0f} % |'
        )
    for images in FITS:
        fit = fit_accuracy(students_of(rows, images))
        values = ', '.join(
            f'{value:.4g}' if isinstance(value, float) else str(value)
            for value in fit
        )
        lines += ['', f"    '{images}': Fit({values}),"]
    return lines


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors():
        check_alone('label_free')
        args = parse_args()
        if not args.summary:
            measure(args)
        rows = read_rows(Path(args.out))
        if not rows:
            raise FileNotFoundError(
                f'{args.out} has no rows: give a LIST.yml to make some.'
            )
        print('\n'.join(summary(rows)))

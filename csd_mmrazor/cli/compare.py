# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Train a list of methods over seeds, and tabulate and plot what they reach.

    python tools/compare.py LIST.yml --out work_dirs/digits --jobs 2

The list is a YAML file. Every run is one of ``tools/train.py``::

    seeds: [0, 1, 2]
    budget: small             # a column of the results; may be left out
    options:                  # --cfg-options of all runs; may be left out
      train_cfg.max_epochs: 20
    methods:
      CSD:
        config: configs/csd/csd_quickstart_digits.py
      CSD without its term:
        config: configs/csd/csd_quickstart_digits.py
        options:              # of this method, in place of those of all
          default_hooks.synthesis.synthesizer.losses.loss_csd.loss_weight: 0
        against: CSD          # a second table: differences, paired by seed

``{seed}`` in an option becomes the run's seed. First, each method makes a step
of each kind and validates a batch: what is wrong with one is told before any
run starts. After each run OUT.csv, OUT.md and OUT.png are rewritten. A run
that has its row in OUT.csv, or in its work dir, is not made again, and one
that was interrupted is resumed, if it was begun with the same settings. Lists
of several budgets may share OUT: methods are compared within each budget.
Lists whose files have the same name need different values of ``--work-dir``,
since their methods' work dirs would be the same.

``--cfg-options KEY=VALUE`` is for all runs, in place of options of the list
and of its methods. A row has all options of its run.
"""

import argparse
import csv
import fcntl
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import mmengine
import torch
from mmengine.config import Config

from ..datasets import BankFolder
from ..report import read_measurements
from ..report.run_files import attempts
from ..utils import write_file
from ..utils.differences import config_differences
from ..utils.files import read_object
from ..utils.plain_config import configs_of_starts, parse_config
from ..utils.scalars import read_scalars
from ..version import __version__
from . import train as train_tool
from .compare_list import (
    ListedRun,
    load_config,
    read_list,
    without_places,
)
from .compare_plot import plot
from .compare_rows import (
    BEGIN,
    COLUMNS,
    paired_differences,
    read_rows,
    table,
)
from .compare_runs import (
    count_all,
    in_processes,
    last_words,
    read_cost,
    write_to_log,
)
from .cpu_seconds import noted_cpu_seconds, read_cpu_seconds
from .errors import concise_errors
from .options import Options
from .parser import Parser
from .processes import speak_utf8
from .ranges import check_replaced, in_range

# In the work dir of a run, its row.
_ROW = 'row.csv'


def parse_args() -> argparse.Namespace:
    parser = Parser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('list', help='YAML file of methods and seeds')
    parser.add_argument(
        '--out', help='results without suffix; default: WORK_DIR/results'
    )
    parser.add_argument(
        '--work-dir',
        help='of all runs; default: work_dirs/compare/NAME, where NAME is '
        "the list's without suffix",
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=in_range(int, 0, 2**32 - 1),
        help='in place of those of the list',
    )
    parser.add_argument(
        '--methods', nargs='+', help='only these methods of the list'
    )
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='runs at a time, which share the cores; default: 1',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='for all runs, in place of what the list and its methods set '
        'there, such as\nval_dataloader.dataset.data_root=FOLDER',
    )
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f'--jobs should be 1 or more, but got {args.jobs}')
    return args


def find_hook(cfg: Config) -> Optional[Dict]:
    """Config of the hook that makes images, if there is one."""
    hooks = [
        *(cfg.get('default_hooks') or {}).values(),
        *(cfg.get('custom_hooks') or []),
    ]
    found = [hook for hook in hooks if hook and 'synthesizer' in hook]
    return found[0] if found else None


def count_steps(cfg: Config) -> int:
    """Optimisation steps of images or of a generator in a whole run."""
    hook = find_hook(cfg)
    if hook is None:
        return cfg.train_cfg.max_iters if 'generator' in cfg.model else 0
    iters = hook.synthesizer.get('iters', 200)
    init = hook.get('init_rounds', 0) * (hook.get('init_iters') or iters)
    if cfg.train_dataloader.dataset.get('init_bank'):
        init = 0  # imported images take their place
    return init + cfg.train_cfg.max_epochs * hook.get('rounds', 1) * iters


def count_images(cfg: Config, work_dir: Path) -> int:
    """Synthetic images that the student could draw from in a whole run."""
    hook = find_hook(cfg)
    if hook is not None and cfg.train_dataloader.dataset.get('capacity'):
        # Most of them were dropped.
        made = hook.synthesizer
        size = made.get('batch_size', 200)
        if made.get('keep') == 'all':
            return count_steps(cfg) * size
        rounds = cfg.train_cfg.max_epochs * hook.get('rounds', 1)
        if not cfg.train_dataloader.dataset.get('init_bank'):
            rounds += hook.get('init_rounds', 0)
        return rounds * (made.get('num_images') or size)
    if hook is not None:
        return len(BankFolder(work_dir / hook.get('bank_dir', 'bank')))
    if 'generator' not in cfg.model:
        return 0
    return (
        cfg.train_cfg.max_iters
        * cfg.model.get('student_iter', 1)
        * cfg.train_dataloader.batch_size
    )


def read_validations(work_dir: Path) -> Dict[int, float]:
    """Top-1 of every validation in order, by epoch or step."""
    return dict(sorted(read_scalars(work_dir)['accuracy/top1'].items()))


def read_seconds(work_dir: Path) -> int:
    """Seconds of all attempts, from their first to their last line."""
    return round(sum(each['seconds'] for each in attempts(work_dir)))


def read_machine(work_dir: Path) -> str:
    """What a run ran on, as its report says."""
    with suppress(ValueError):
        return (read_measurements(work_dir) or {}).get('machine', '')
    return ''


def check_continued(run: ListedRun, cfg: Config, is_done: bool) -> None:
    """Compare a run's config with the one that it was begun with.

    Args:
        run (ListedRun): The run.
        cfg (Config): What its list asks for now.
        is_done (bool): Whether it has its row, which is then doubted only.

    Raises:
        ValueError: If it is to be continued, since it would be a mixture.
    """
    starts = configs_of_starts(run.work_dir)
    hook = find_hook(cfg)
    made = ('*.pth', f'{(hook or {}).get("bank_dir", "bank")}/*')
    if not starts or not any(any(run.work_dir.glob(each)) for each in made):
        return  # nothing of it can be mixed up
    try:
        old = parse_config(starts[-1].read_text(encoding='utf-8'))
        new = parse_config(cfg.pretty_text)
    except (OSError, ValueError):  # more than plain data
        return
    hooks = cfg.get('default_hooks') or {}
    names = [name for name, h in hooks.items() if h is hook]
    others = tuple(
        f'default_hooks.{name}.'
        for name in {*(old.get('default_hooks') or {}), *hooks}
        if name not in names
    )
    changed = [
        str(item)
        for item in config_differences(old, new)
        # Of hooks that log and write files.
        if not f'{item.key}.'.startswith(others)
    ]
    noted = read_object(_files_note(run))
    changed += [
        f'{key}: another file'
        for key, digest in files_of_weights(cfg).items()
        if noted.get(key, digest) != digest
    ]
    if not changed:
        return
    shown = '; '.join(changed[:5]) + '; ...' * (len(changed) > 5)
    what = f'{run.name}, was begun in {run.work_dir} with other settings'
    if not is_done:
        raise ValueError(
            f'{what}: {shown}. Take those, choose another --work-dir, or '
            'delete that folder.'
        )
    print(f'Note: {what}: {shown}. Its row is kept.', flush=True)


def _files_note(run: ListedRun) -> Path:
    """Where :func:`files_of_weights` of a run's first start are noted."""
    return run.work_dir.with_name(f'{run.work_dir.name}.files.json')


def files_of_weights(cfg: Config) -> Dict[str, str]:
    """SHA-256 of the files that a run starts from, by their option."""
    model = cfg.get('model') or {}
    named = {'model.student_ckpt': model.get('student_ckpt')}
    named['model.teacher_ckpt'] = model.get('teacher_ckpt')
    for name, teacher in (model.get('teachers') or {}).items():
        if isinstance(teacher, dict):
            key = f'model.teachers.{name}.ckpt_path'
            named[key] = teacher.get('ckpt_path')
    files = {
        key: Path(path).expanduser()
        for key, path in named.items()
        if isinstance(path, str)
    }
    return {
        key: hashlib.sha256(file.read_bytes()).hexdigest()
        for key, file in files.items()
        if file.is_file()
    }


def git_commit() -> str:
    """The commit that runs, with a plus if files differ from it."""
    if not Path(__file__).parents[2].joinpath('.git').exists():
        # Installed, perhaps within the repository of another project.
        return f'v{__version__}'
    try:
        return subprocess.run(
            ['git', 'describe', '--always', '--dirty=+', '--exclude=*'],
            cwd=Path(__file__).parent,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f'v{__version__}'


def releases() -> str:
    """What a row says of the packages that made it."""
    return (
        f'torch {torch.__version__} mmengine {mmengine.__version__} '
        f'csd_mmrazor {__version__}'
    )


def result(run: ListedRun, cfg: Config, commit: str) -> Dict:
    """The row of a finished run; one that ended early has what it trained."""
    validations = read_validations(run.work_dir)
    unit = 'max_epochs' if 'max_epochs' in cfg.train_cfg else 'max_iters'
    planned, last = cfg.train_cfg[unit], max(validations)
    cfg = deepcopy(cfg)
    # Validations may be logged by steps where epochs are planned.
    cfg.train_cfg[unit] = min(last, planned)
    share = cfg.train_cfg[unit] / planned
    curve = [f'{value:.2f}' for value in validations.values()]
    cpu_seconds = read_cpu_seconds(run.work_dir)
    cost = read_cost(run)
    costs = [
        f'{cost.at(share * step / last):.1f}'
        for step in validations
        if cost.before is not None
    ]
    return dict(
        method=run.method,
        budget=run.budget,
        seed=run.seed,
        top1=curve[-1],
        best=max(curve, key=float),
        seconds=read_seconds(run.work_dir),
        cpu_seconds='' if cpu_seconds is None else round(cpu_seconds),
        machine=read_machine(run.work_dir),
        images=count_images(cfg, run.work_dir),
        steps=count_steps(cfg),
        gflop=f'{cost.at(share):.1f}',
        curve=' '.join(curve),
        curve_gflop=' '.join(costs),
        commit=commit,
        versions=releases(),
        **run.settings,
    )


def train(run: ListedRun) -> None:
    """What a run's process does."""
    write_to_log(run)
    sys.argv = ['tools/train.py', *run.arguments]
    with noted_cpu_seconds(run.work_dir):
        train_tool.main()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process has a folder locked, and lock it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_done(run: ListedRun, rows: List[Dict]) -> bool:
    """Whether a run has its row.

    Raises:
        ValueError: If the row is of a run with other settings.
    """
    for row in rows:
        if (row['method'], row['budget'], row['seed']) == (
            run.method,
            run.budget,
            str(run.seed),
        ):
            # Earlier releases wrote paths, and options in their order.
            settings = without_places(row['config'], row['options'])
            for key, value in run.settings.items():
                if settings[key] != value:
                    found = f'with {key} {row[key]}'
                    if not row[key]:
                        found = f'that does not say which {key} it had'
                    raise ValueError(
                        f'"{run.method}" with seed {run.seed} has a result '
                        f'{found}, and the list has {value}. Give the method '
                        'another name, choose another --out and --work-dir, '
                        'or delete its row and work dir.'
                    )
            return True
    return False


def as_csv(rows: List[Dict]) -> bytes:
    """Rows as a file has them."""
    buffer = io.StringIO()
    columns = dict.fromkeys(
        [*COLUMNS, *(name for row in rows for name in row)]
    )
    writer = csv.DictWriter(buffer, [*columns], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def write(rows: List[Dict], tables: str, out: Path) -> None:
    """Write rows, tables and plot."""
    for suffix, content in (
        ('.csv', as_csv(rows)),
        ('.md', tables.encode()),
        ('.png', plot(rows)),
    ):
        write_file(out.with_name(out.name + suffix), content)


def compare(args: argparse.Namespace) -> None:
    """Make the runs that the arguments name, and write what they reach.

    Raises:
        RuntimeError: If runs of an earlier call are still under way.
        ValueError: If a list, or the config of a run, makes no sense.
    """
    name = Path(args.list).stem
    work_dir = Path(args.work_dir or Path('work_dirs', 'compare', name))
    out = Path(args.out or work_dir / 'results')
    runs = read_list(args, work_dir)
    # Whatever is wrong with a config is reported before any work.
    configs = {run.work_dir: load_config(run) for run in runs}
    pairs = {run.method: run.against for run in runs if run.against}
    table_of_rows = out.with_name(f'{out.name}.csv')

    def tables() -> str:
        differences = paired_differences(rows, pairs)
        return '\n'.join(filter(None, [table(rows), differences]))

    for argument, folder in (('work-dir', work_dir), ('out', out.parent)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OSError(
                error.errno,
                f'{error.strerror}. --{argument} cannot be written to',
                str(folder),
            ) from error
    lock = (work_dir / '.lock').open('a')  # it may be of others
    try:  # runs that outlive this process hold on to it
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RuntimeError(
            f'Runs in {work_dir} are still under way: wait for them or '
            'choose another --work-dir.'
        ) from None
    rows = read_rows(table_of_rows)
    if not table_of_rows.exists():
        beside = out.with_name(f'{out.name}.png')
        check_replaced(out.with_name(f'{out.name}.md'), BEGIN, beside)
    done = [run for run in runs if is_done(run, rows)]
    waiting = [run for run in runs if run not in done]
    for run in runs:
        check_continued(run, configs[run.work_dir], run in done)
    # Of a call with another --out, or whose table was lost.
    found = {run.work_dir: read_rows(run.work_dir / _ROW) for run in waiting}
    kept = [run for run in waiting if is_done(run, found[run.work_dir])]
    waiting = [run for run in waiting if run not in kept]
    if kept:
        with locked(out.parent):
            rows = read_rows(table_of_rows)
            for run in kept:
                rows += [] if is_done(run, rows) else found[run.work_dir]
            write(rows, tables(), out)
    print(f'runs: {len(runs)}, to do: {len(waiting)}', flush=True)
    commit = git_commit()
    if 'OMP_NUM_THREADS' not in os.environ:
        cores = len(os.sched_getaffinity(0))
        torch.set_num_threads(max(1, cores // args.jobs))
    # Whoever ends this process ends its runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('Ended.'))
    count_all(waiting, configs)
    for run in waiting:
        if not run.work_dir.exists():
            files = files_of_weights(configs[run.work_dir])
            run.work_dir.parent.mkdir(parents=True, exist_ok=True)
            write_file(_files_note(run), json.dumps(files).encode())
    failed, left = 0, len(waiting)
    tasks = [(run,) for run in waiting]
    with closing(in_processes(train, tasks, args.jobs)) as ended:
        for run, status in ended:
            left -= 1
            if status:
                failed += 1
                print(f'{run.name}: failed: {last_words(run)}', flush=True)
                continue
            row = result(run, configs[run.work_dir], commit)
            run.work_dir.mkdir(parents=True, exist_ok=True)
            write_file(run.work_dir / _ROW, as_csv([row]))
            with locked(out.parent):  # others may write to it as well
                rows = read_rows(table_of_rows)
                if not is_done(run, rows):
                    rows.append({key: str(v) for key, v in row.items()})
                write(rows, tables(), out)
            print(
                f'{time.strftime("%H:%M:%S")} {run.name}: {row["top1"]} % '
                f'in {row["seconds"]} s; {left} to do',
                flush=True,
            )
    if rows:
        with locked(out.parent):
            rows = read_rows(table_of_rows)
            write(rows, tables(), out)
        print(tables())
    if failed:
        sys.exit(f'{failed} of {len(runs)} runs failed.')


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors('The same command continues where it stopped.'):
        compare(parse_args())

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The processes of tools/compare.py, and what its runs cost."""

import hashlib
import multiprocessing
import os
import re
import signal
import tempfile
import uuid
from contextlib import closing
from copy import deepcopy
from multiprocessing.connection import wait
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from mmengine.config import Config
from mmengine.runner import Runner

from ..engine.operations import RunCost, run_cost
from ..utils import write_file
from ..utils.validation import check_validation
from .compare_list import ListedRun

_ERROR = re.compile(r'[\w.]*(Error|Exception|Interrupt): ')


def write_to_log(run: ListedRun) -> None:
    """Let this process, which is a run's own, write to the run's log."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    run.work_dir.parent.mkdir(parents=True, exist_ok=True)
    log = run.work_dir.with_suffix('.log').open('a')
    for stream in (1, 2):
        os.dup2(log.fileno(), stream)


def last_words(run: ListedRun) -> str:
    """How a run's log ends, and where it is."""
    path = run.work_dir.with_suffix('.log')
    text = path.read_text(encoding='utf-8', errors='replace')
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # An error's name begins its message, which may have several lines.
    starts = [i for i, line in enumerate(lines) if _ERROR.match(line)]
    said = ' '.join(lines[starts[-1] if starts else -1 :]) or 'no word'
    return f'{said[:500]} (see {path})'


def digest(cfg: Config) -> str:
    """Stands for what a run costs, which its seed and folder do not change."""
    cfg = cfg.copy()
    cfg.work_dir, cfg.randomness = None, None
    # Not ``pretty_text``, which formats it for seconds.
    return hashlib.sha256(repr(cfg.to_dict()).encode()).hexdigest()


def count(run: ListedRun, cfg: Config) -> None:
    """What the process does that counts the operations of a run."""
    write_to_log(run)
    words = [f'{value:.1f}' for value in count_cost(cfg)]
    text = ' '.join([*words, digest(cfg)])
    write_file(run.work_dir.with_suffix('.gflop'), text.encode())


def count_cost(cfg: Config) -> RunCost:
    """What a run costs, in GFLOP; see :func:`run_cost`.

    Raises:
        ValueError: If its validation fails, or has no top-1.
    """
    cfg = deepcopy(cfg)
    cfg.experiment_name = f'operations_{uuid.uuid4().hex}'
    cfg.log_level, cfg.load_from, cfg.resume = 'ERROR', None, False
    with tempfile.TemporaryDirectory() as cfg.work_dir:
        runner = Runner.from_cfg(cfg)
        metrics = check_validation(runner)
        if metrics is not None and 'accuracy/top1' not in metrics:
            raise ValueError(
                f'Validation reports {[*metrics]}, but accuracy/top1 is '
                'compared: set val_evaluator, such as '
                'dict(type="mmpretrain.Accuracy", topk=(1,)).'
            )
        return run_cost(runner)


def read_cost(run: ListedRun) -> RunCost:
    """What a run was counted to cost."""
    words = run.work_dir.with_suffix('.gflop').read_text().split()
    # Earlier releases noted the total alone.
    before = float(words[1]) if len(words) > 2 else None
    return RunCost(float(words[0]), before)


def count_all(runs: List[ListedRun], configs: Dict[Path, Config]) -> None:
    """Count the operations of runs, those of each method once.

    Raises:
        RuntimeError: If it fails with any, which the runs would as well.
    """
    alike: Dict[str, List[ListedRun]] = {}
    for run in runs:
        key = digest(configs[run.work_dir])
        path = run.work_dir.with_suffix('.gflop')
        words = path.read_text().split() if path.exists() else []
        if len(words) != 1 and words[2:] != [key]:
            alike.setdefault(key, []).append(run)
    if alike:
        print(f'Methods to try for a step: {len(alike)}', flush=True)
    failed = []
    tasks = [(same[0], configs[same[0].work_dir]) for same in alike.values()]
    with closing(in_processes(count, tasks, 1)) as ended:
        for run, status in ended:
            if status:
                failed.append(f'"{run.method}": {last_words(run)}')
    if failed:
        listed = '\n  '.join(failed)
        raise RuntimeError(
            f'No run was started, since the first step fails of\n  {listed}\n'
            'Correct the list, or leave them out by --methods.'
        )
    for first, *others in alike.values():
        counted = first.work_dir.with_suffix('.gflop').read_bytes()
        for run in others:
            run.work_dir.parent.mkdir(parents=True, exist_ok=True)
            write_file(run.work_dir.with_suffix('.gflop'), counted)


def in_processes(
    function: Callable, tasks: List[Tuple], jobs: int
) -> Iterator[Tuple[ListedRun, Optional[int]]]:
    """Call a function in a process of its own for each task.

    Args:
        function (Callable): What is called.
        tasks (list[tuple]): Its arguments, of which the first is a run.
        jobs (int): How many at a time.

    Yields:
        tuple[ListedRun, int]: One that ended, and its exit status. Whoever
        closes the iterator ends those that have not.
    """
    fork = multiprocessing.get_context('fork')
    waiting, running = [*tasks], {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop(0)
                process = fork.Process(target=function, args=task)
                process.start()
                running[process.sentinel] = (task[0], process)
            for sentinel in wait(running):
                run, process = running.pop(sentinel)
                process.join()
                yield run, process.exitcode
    finally:
        for _, process in running.values():
            process.terminate()

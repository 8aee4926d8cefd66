# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Time a config with one process and with several, in turn.

Each process has one thread. The first epoch of a run does not count; of the
second, the time of its synthesis and of its student steps is taken, and the
median over the repeats. The teacher's weights are drawn at random, so no
checkpoint is needed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..utils import write_file
from ..utils.public import public
from .config import load_measured
from .errors import concise_errors
from .options import Options
from .parser import Parser
from .ranges import in_range, json_to_write


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument('config', help='train config file path')
    parser.add_argument(
        '--processes', type=in_range(int, 1), nargs='+', default=[1, 2]
    )
    parser.add_argument('--repeats', type=in_range(int, 1), default=3)
    parser.add_argument(
        '--rounds',
        type=in_range(int, 1),
        default=2,
        help='of synthesis, of each process, 1 or more',
    )
    parser.add_argument(
        '--iters',
        type=in_range(int, 1),
        default=10,
        help='of a round, 1 or more',
    )
    parser.add_argument(
        '--steps',
        type=in_range(int, 1),
        default=20,
        help='of the student, 1 or more',
    )
    parser.add_argument('--out', type=json_to_write, help='JSON file to write')
    parser.add_argument('--port', default='29571')
    parser.add_argument('--cfg-options', nargs='+', action=Options)
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    return parser.parse_args()


class Clock(Hook):
    """Notes when synthesis and the student's steps begin and end."""

    # Before SynthesisHook's.
    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        self.times = [time.perf_counter()]

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if batch_idx == 0:
            self.times.append(time.perf_counter())

    def after_train_epoch(self, runner) -> None:
        self.times.append(time.perf_counter())


def work(args: argparse.Namespace) -> None:
    """Be one process of a run."""
    torch.set_num_threads(1)
    cfg = load_measured(args)
    for teacher in cfg.model.teachers.values():
        teacher.ckpt_path = 'none'
    # A student of a random teacher is not to diverge meanwhile.
    for wrapper in cfg.optim_wrapper.values():
        if isinstance(wrapper, dict):
            wrapper.optimizer.lr = 1e-6
    processes = int(os.environ['WORLD_SIZE'])
    batch_size = cfg.train_dataloader.batch_size
    cfg.merge_from_dict(
        {
            'default_hooks.synthesis.init_rounds': 0,
            'default_hooks.synthesis.rounds': args.rounds,
            'default_hooks.synthesis.synthesizer.iters': args.iters,
            'train_dataloader.sampler.num_samples': batch_size
            * args.steps
            * processes,
            'train_cfg.max_epochs': 2,
            'default_hooks.synthesis.rehearsal': False,
            'default_hooks.checkpoint': None,
            'default_hooks.logger': None,
            'log_level': 'ERROR',
        }
    )
    for mode in ('val', 'test'):
        for name in ('cfg', 'dataloader', 'evaluator'):
            cfg[f'{mode}_{name}'] = None
    cfg.launcher = 'pytorch'
    cfg.work_dir = str(Path(args.worker).parent / 'run')
    runner = Runner.from_cfg(cfg)
    clock = Clock()
    runner.register_hook(clock, 'VERY_HIGH')
    runner.train()
    if get_dist_info()[0] == 0:
        start, middle, end = clock.times
        images = args.rounds * processes
        images *= cfg.default_hooks.synthesis.synthesizer.batch_size
        result = dict(
            synthesised_images=images / (middle - start),
            student_steps=args.steps / (end - middle),
            student_images=args.steps
            * batch_size
            * processes
            / (end - middle),
        )
        Path(args.worker).write_text(json.dumps(result))


def measure(args: argparse.Namespace) -> None:
    """Start the processes, and tell what they did in a second."""
    load_measured(args)  # what is wrong with it is told once, here
    found = {number: [] for number in args.processes}
    for repeat in range(args.repeats):
        for number in args.processes:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder, 'result.json')
                done = subprocess.run(
                    [sys.executable, '-W', 'ignore']
                    + ['-m', 'torch.distributed.run']
                    + [f'--nproc_per_node={number}']
                    + [f'--master_port={args.port}', *sys.argv]
                    + ['--worker', str(out)],
                    env=dict(
                        os.environ,
                        OMP_NUM_THREADS='1',
                        MKL_NUM_THREADS='1',
                        PYTHONWARNINGS='ignore',
                    ),
                    stdout=subprocess.DEVNULL,
                )
                if done.returncode:
                    raise RuntimeError(
                        f'The run with --processes {number} failed. What its '
                        'processes say is above.'
                    )
                found[number].append(json.loads(out.read_text()))
            print(f'repeat {repeat + 1}, {number} processes:', end=' ')
            print(found[number][-1], flush=True)
    per_second = {
        number: {key: median(r[key] for r in results) for key in results[0]}
        for number, results in found.items()
    }
    first, last = (per_second[args.processes[i]] for i in (0, -1))
    ratio = {key: last[key] / first[key] for key in first}
    result = dict(
        config=public(args.config),
        processes=args.processes,
        rounds=args.rounds,
        iters=args.iters,
        steps=args.steps,
        per_second=per_second,
        ratio=ratio,
        all=found,
    )
    for number, values in per_second.items():
        text = ', '.join(f'{key} {value:.2f}' for key, value in values.items())
        print(f'{number} processes, per second: {text}')
    print(
        f'{args.processes[-1]} against {args.processes[0]}: '
        + ', '.join(f'{key} {value:.2f}x' for key, value in ratio.items())
    )
    if args.out:
        write_file(args.out, json.dumps(result, indent=1).encode())


def main() -> None:
    """Run the command line."""
    args = parse_args()
    if args.worker:
        work(args)
        return
    with concise_errors():
        measure(args)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Train a student by a config of this project, or anything of MMRazor's."""

import argparse
import logging
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Optional

from mmengine.config import Config
from mmengine.dist import (
    broadcast_object_list,
    init_dist,
    is_distributed,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner

from ..datasets import BankFolder
from ..engine.hooks.label_check_hook import LabelCheckHook
from ..engine.hooks.synthesis_hook import Planned, synthesis_hooks
from ..models.classifiers import is_pruned
from ..models.utils import check_losses_are_used
from ..utils import latest_checkpoint, list_checkpoints, load_file
from ..utils.config_parts import part_name
from ..utils.files import work_dir_lock
from ..utils.run_seed import noted_seed
from ..utils.stopping import REQUEUE, stop_if_asked, stop_on_signals
from ..utils.validation import check_validation
from .config import (
    AMP_DTYPES,
    add_config_arguments,
    check_teacher_files,
    check_training,
    enable_amp,
    is_first_process,
    load_config,
    note_local_rank,
)
from .errors import concise_errors
from .parser import Parser
from .processes import leave_together, speak_utf8


def parse_args() -> argparse.Namespace:
    parser = Parser(description='Train an algorithm')
    parser.add_argument(
        'config',
        help='train config file, or package::path of an installed one',
    )
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        choices=('auto', *AMP_DTYPES, 'none'),
        help='train in mixed precision: bfloat16 where the device is fast in '
        'it, or as given; none: in float32, whatever the config says',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale learning rates with the number of processes and images',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='PATH',
        help='resume from the latest checkpoint in the work dir, or from PATH',
    )
    parser.add_argument(
        '--plan',
        action='store_true',
        help='say what the run will do and cost, from a few timed steps, and '
        'end before any work',
    )
    parser.add_argument(
        '--requeue',
        action='store_true',
        help='for jobs with a time limit: end between two steps on SIGUSR1 '
        f'or SIGTERM, with status {REQUEUE}, and continue what is there at '
        'the next start',
    )
    parser.add_argument(
        '--no-rehearsal',
        action='store_true',
        help='start without a rehearsal of the run',
    )
    add_config_arguments(parser)
    args = parser.parse_args()
    note_local_rank(args)
    return args


def train(args: argparse.Namespace) -> None:
    """Train by the config that the arguments name."""
    cfg = load_config(args)
    check_training(cfg)
    check_teacher_files(cfg)
    if args.amp:
        enable_amp(cfg, args.amp)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise RuntimeError(
                '--auto-scale-lr needs auto_scale_lr='
                'dict(base_batch_size=...) in the config.'
            )
        cfg.auto_scale_lr.enable = True
    if args.resume == '':
        raise ValueError(
            '--resume has an empty text in place of a path: name a '
            'checkpoint, or leave the text out to continue what is in the '
            'work dir.'
        )
    if args.requeue:
        if args.resume not in (None, 'auto'):
            raise ValueError(
                f'--requeue continues what is in the work dir, but --resume='
                f'{args.resume} would start from that file at every start: '
                'leave out its path.'
            )
        stop_on_signals()
        args.resume = args.resume or 'auto'
    if args.resume:
        if args.resume != 'auto' and Path(args.resume).is_dir():
            raise IsADirectoryError(
                f'--resume {args.resume} is a folder: name a checkpoint in '
                'it, or continue the run in it by --work-dir '
                f'{args.resume} --resume, without a path after it.'
            )
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if cfg.get('resume'):
        _know_what_was_pruned(cfg)
    if args.plan:
        _plan(cfg)
        return
    randomness = cfg.get('randomness') or {}
    if cfg.get('resume') and randomness.get('seed') is None:
        # As the run has drawn it, for images before its first checkpoint.
        cfg.randomness = dict(randomness, seed=_noted_seed(cfg))
    is_first = is_first_process(cfg.launcher)
    with work_dir_lock(cfg.work_dir) if is_first else nullcontext():
        _check_unused(cfg)
        runner = Runner.from_cfg(cfg)
        check_losses_are_used(runner.model)
        synthesis = synthesis_hooks(runner)
        for hook in synthesis:
            hook.rehearsal = hook.rehearsal and not args.no_rehearsal
        if not synthesis and not args.no_rehearsal:
            check_validation(runner)
        runner.register_hook(LabelCheckHook())
        if args.requeue:
            runner.register_hook(StopHook())
        runner.train()
    leave_together()


def _check_unused(cfg: Config) -> None:
    """Refuse to overwrite the checkpoints of an earlier run.

    Raises:
        FileExistsError: If there are some; names the last one.
    """
    if cfg.get('resume'):
        return
    work_dir = Path(cfg.work_dir)
    data = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    if part_name(data) == 'ImageBank' and any(
        BankFolder.exists(path) for path in work_dir.glob('*')
    ):
        return  # opening that tells of its images, too
    for path in list_checkpoints(work_dir):
        if path.exists():
            raise FileExistsError(
                f'{path} is of an earlier run. Continue that run with '
                '--resume, choose another --work-dir, or delete the '
                'checkpoints of that run.'
            )


def _know_what_was_pruned(cfg: Config) -> None:
    """Take the shapes of a pruned student from what is resumed.

    The file that they are of may be gone by then.
    """
    student = cfg.model.get('architecture')
    shapes = student.get('shapes') if is_pruned(student) else None
    if not isinstance(shapes, str) or Path(shapes).expanduser().is_file():
        return
    path = cfg.get('load_from') or latest_checkpoint(cfg.work_dir)
    if path and Path(path).is_file():
        prefix = 'architecture.'
        student.shapes = {
            key[len(prefix) :]: [*value.shape]
            for key, value in load_file(path).get('state_dict', {}).items()
            if key.startswith(prefix)
        }


def _noted_seed(cfg: Config) -> Optional[int]:
    """What the first process finds, which others may see later."""
    if cfg.launcher != 'none' and not is_distributed():
        # As the runner would do next.
        init_dist(
            cfg.launcher, **(cfg.get('env_cfg') or {}).get('dist_cfg', {})
        )
    seeds = [noted_seed(cfg.work_dir) if is_main_process() else None]
    broadcast_object_list(seeds)
    return seeds[0]


def _plan(cfg: Config) -> None:
    """Say what a run will do and cost; writes nothing to its work dir.

    What a runner writes as it is built goes to a temporary folder.

    Args:
        cfg (Config): Of the run.
    """
    work_dir = cfg.work_dir
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from = latest_checkpoint(work_dir)
    cfg.visualizer = dict(
        type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]
    )
    # What is asked for is not to drown in what a run says of itself.
    cfg.log_level = 'WARNING'
    with TemporaryDirectory(prefix='csd_mmrazor_plan_') as folder:
        cfg.work_dir = folder
        try:
            runner = Runner.from_cfg(cfg)
            synthesis = synthesis_hooks(runner)
            if not synthesis:
                raise ValueError(
                    '--plan is for runs with SynthesisHook, which this config '
                    'does not have.'
                )
            for hook in synthesis:
                hook.rehearsal, hook.plan_for = False, work_dir
            runner.train()
        except Planned:
            leave_together()
        finally:
            # An error goes to a log that stays.
            logger = MMLogger.get_current_instance()
            for handler in [*logger.handlers]:
                if isinstance(handler, logging.FileHandler):
                    handler.close()
                    logger.removeHandler(handler)


class StopHook(Hook):
    """Ends a run that is asked to between two steps of any kind."""

    def _after_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        stop_if_asked()


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors(
        'The same command with --resume, without a path after it, continues '
        'this run.',
        again='continue with --resume',
    ):
        train(parse_args())

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Test a trained run: the student's accuracy on real images."""

import argparse
import os
from pathlib import Path

from mmengine.runner import Runner

from ..models.classifiers import is_pruned
from ..models.utils import load_weights
from ..utils import NO_FILE
from ..utils.plain_config import configs_of_starts
from .config import (
    add_config_arguments,
    check_present,
    is_csd,
    load_config,
)
from .errors import concise_errors
from .parser import Parser
from .processes import leave_together, speak_utf8


def parse_args() -> argparse.Namespace:
    parser = Parser(description='Test (and eval) a model')
    parser.add_argument(
        'config', help='test config file, or package::path of an installed one'
    )
    parser.add_argument(
        'checkpoint',
        help="a run's checkpoint, a student's weights alone, or a URL; "
        '"none" tests what the config itself initialises',
    )
    parser.add_argument(
        '--revise-keys',
        nargs='+',
        default=[],
        metavar='PATTERN=NEW',
        help='regular expressions, and what replaces each in the names of '
        'the checkpoint, such as "^linear=head.fc" "^layer=backbone.layer"',
    )
    add_config_arguments(parser)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not all('=' in pair for pair in args.revise_keys):
        parser.error(
            f'--revise-keys takes PATTERN=NEW, got {args.revise_keys}'
        )
    # A pattern may have an equals sign, (?=...), and a name has none.
    args.revise_keys = [pair.rsplit('=', 1) for pair in args.revise_keys]
    return args


def test(args: argparse.Namespace) -> None:
    """Test the student that the arguments name."""
    cfg = load_config(args)
    check_present(cfg, ('model', 'test_dataloader'), 'test')
    # The run's own folder has its config, which this one is not.
    if args.work_dir is None:
        cfg.work_dir = str(Path(cfg.work_dir, 'test'))
    elif configs_of_starts(cfg.work_dir) and any(
        Path(cfg.work_dir).glob('*.pth')
    ):
        raise ValueError(
            f'--work-dir {args.work_dir} has a run, of which the config would '
            'be replaced: choose another folder, or leave --work-dir out.'
        )
    # Only the student is tested: teachers need no weights for it.
    teachers = cfg.model.get('teachers', {})
    for teacher in teachers.values() if isinstance(teachers, dict) else ():
        if not isinstance(teacher, dict):
            continue  # which the algorithm refuses
        teacher.pop('ckpt_path', None)
        if is_csd(cfg):
            teacher.ckpt_path = NO_FILE
    student = cfg.model.get('architecture', cfg.model)
    shapes = student.get('shapes') if is_pruned(student) else None
    is_gone = isinstance(shapes, str) and not Path(shapes).is_file()
    if is_gone and args.checkpoint != 'none':
        student.shapes = args.checkpoint  # which has the same
    runner = Runner.from_cfg(cfg)
    if args.checkpoint != 'none':
        model = getattr(runner.model, 'module', runner.model)
        student = getattr(model, 'architecture', model)
        load_weights(
            student,
            args.checkpoint,
            'checkpoint',
            args.revise_keys,
            '--revise-keys PATTERN=NEW',
        )
    runner.test()
    leave_together()


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors():
        test(parse_args())

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Test a trained run: the student's accuracy on real images."""

import argparse
import os
import signal
import sys
from pathlib import Path

# Ctrl-C ends what has not begun without a word.
signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from mmengine.runner import Runner

# A clone works without being installed.
sys.path.append(str(Path(__file__).resolve().parent.parent))
import csd_mmrazor  # noqa: F401  repairs MMRazor before it is needed
from csd_mmrazor.models.utils import load_weights
from csd_mmrazor.utils import NO_FILE
from csd_mmrazor.utils.config import (
    add_config_arguments,
    check_present,
    load_config,
)
from csd_mmrazor.utils.errors import errors_told_plainly
from csd_mmrazor.utils.processes import leave_together, speak_utf8


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Test (and eval) a model')
    parser.add_argument('config', help='test config file path')
    parser.add_argument(
        'checkpoint',
        help="a run's checkpoint, a student's weights alone, or a URL; "
        '"none" tests what the config itself initialises',
    )
    add_config_arguments(parser)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    check_present(cfg, ('model', 'test_dataloader'), 'test')
    # Only the student is tested: teachers need no weights for it.
    teachers = cfg.model.get('teachers', {})
    is_csd = str(cfg.model.get('type')).endswith('CSDDistillation')
    for teacher in teachers.values() if isinstance(teachers, dict) else ():
        teacher.pop('ckpt_path', None)
        if is_csd:
            teacher.ckpt_path = NO_FILE
    runner = Runner.from_cfg(cfg)
    if args.checkpoint != 'none':
        model = getattr(runner.model, 'module', runner.model)
        student = getattr(model, 'architecture', model)
        load_weights(student, args.checkpoint, 'checkpoint')
    runner.test()
    leave_together()


if __name__ == '__main__':
    speak_utf8()
    with errors_told_plainly():
        main()

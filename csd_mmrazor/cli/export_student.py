# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Take the student out of a run, for use elsewhere."""

import argparse

from ..export import (
    check_free,
    check_license,
    check_parts,
    export_student,
    find_checkpoint,
    find_config,
    look_up_in,
    notes,
    read_run_config,
)
from ..utils import load_file
from ..utils.alone import check_alone
from ..utils.config_files import read_config
from .errors import concise_errors
from .parser import Parser
from .processes import speak_utf8


def parse_args() -> argparse.Namespace:
    parser = Parser(description='Export the student of a run')
    parser.add_argument(
        'source',
        metavar='WORK_DIR_OR_CKPT',
        help='the work dir of a run (its best checkpoint is taken, or else '
        'its last), or one of its checkpoints',
    )
    parser.add_argument(
        'out',
        metavar='OUT.pth',
        help='where the weights go to; what describes them is put beside them',
    )
    parser.add_argument(
        '--config',
        help="the run's config, if it is not beside the checkpoint",
    )
    parser.add_argument(
        '--onnx', metavar='OUT.onnx', help='write it for ONNX as well'
    )
    parser.add_argument(
        '--program',
        metavar='OUT.pt2',
        help='write it as a program of torch.export as well',
    )
    parser.add_argument(
        '--normalize',
        action='store_true',
        help='let these two take images in [0, 1], and normalise them',
    )
    parser.add_argument(
        '--teacher-license',
        metavar='ID',
        help='what the teacher may be used under, such as apache-2.0, for the '
        "model card. Default: what the run's ExportStudentHook has",
    )
    args = parser.parse_args()
    if args.normalize and not (args.onnx or args.program):
        parser.error('--normalize is for --onnx and --program')
    return args


def export(args: argparse.Namespace) -> None:
    """Export the student that the arguments name."""
    check_license('--teacher-license', args.teacher_license)
    checkpoint = find_checkpoint(args.source)
    check_free(args.out, args.onnx, args.program)
    try:
        config = args.config or find_config(checkpoint)
    except FileNotFoundError:
        load_file(checkpoint)  # a config would not help with a damaged one
        raise
    print(f'Checkpoint: {checkpoint}\nConfig: {config}')
    if args.config:
        cfg = read_config(config)
        check_parts(cfg, config)
    else:
        cfg = read_run_config(config)
    look_up_in(checkpoint.parent, cfg)
    hook = (cfg.get('default_hooks') or {}).get('export') or {}
    exported = export_student(
        cfg,
        checkpoint,
        args.out,
        args.onnx,
        args.program,
        args.normalize,
        args.teacher_license or hook.get('teacher_license'),
    )
    print('\n'.join(notes(exported)))


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors():
        check_alone('export')
        export(parse_args())

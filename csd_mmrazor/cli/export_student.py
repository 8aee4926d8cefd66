# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Take the student out of a run, as a plain checkpoint of mmpretrain."""

import argparse
from pathlib import Path

from ..export import (
    export_onnx,
    export_student,
    find_checkpoint,
    find_config,
    notes,
    read_run_config,
)
from .config_files import read_config
from .errors import concise_errors
from .processes import speak_utf8

# How the config of an export begins.
_BEGIN = b'# The student in '


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Export the student of a run')
    parser.add_argument(
        'source',
        metavar='WORK_DIR_OR_CKPT',
        help='the work dir of a run (its best checkpoint is taken, or else '
        'its last), or one of its checkpoints',
    )
    parser.add_argument(
        'out',
        metavar='OUT.pth',
        help='where to; a config with the same name is put beside it',
    )
    parser.add_argument(
        '--config',
        help="the run's config, if it is not beside the checkpoint",
    )
    parser.add_argument(
        '--onnx', metavar='OUT.onnx', help='write it for ONNX as well'
    )
    return parser.parse_args()


def export(args: argparse.Namespace) -> None:
    """Export the student that the arguments name."""
    checkpoint = find_checkpoint(args.source)
    check_free(args.out)
    config = args.config or find_config(checkpoint)
    print(f'Checkpoint: {checkpoint}\nConfig: {config}')
    cfg = read_config(config) if args.config else read_run_config(config)
    exported = export_student(cfg, checkpoint, args.out)
    print('\n'.join(notes(exported)))
    if args.onnx:
        shape = cfg.model.get('image_shape', (3, 32, 32))
        difference = export_onnx(exported.model, shape, args.onnx)
        comparison = (
            'not compared with the student: pip install onnxruntime'
            if difference is None
            else f'at most {difference:.2g} from those of the student'
        )
        print(
            f'ONNX: {args.onnx}, of normalised inputs; its logits are '
            f'{comparison}.'
        )


def check_free(out: str) -> None:
    """Check that an export would overwrite at most an earlier one.

    Args:
        out (str): OUT.pth, where it would be.

    Raises:
        ValueError: If there is another file, or one beside it where the
            config would be.
    """
    config = Path(out).with_suffix('.py')
    if config.is_file() and config.read_bytes().startswith(_BEGIN):
        return
    for path in (Path(out), config):
        if path.exists():
            raise ValueError(
                f'{path} is there, and is no exported student: it would be '
                'overwritten. Choose another name.'
            )


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors():
        export(parse_args())

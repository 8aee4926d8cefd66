# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Test a trained run: the student's accuracy on real images."""

import argparse
import os
from pathlib import Path
from typing import Optional, Sequence

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import DATASETS
from mmengine.runner import BaseLoop
from mmrazor.engine import PTQLoop
from torch import nn

from ..datasets.image_folder import names_of_folders
from ..engine.hooks.label_check_hook import LabelCheckHook
from ..engine.quiet_runner import QuietRunner
from ..export import (
    classes_of,
    find_checkpoint,
    find_config,
    look_up_in,
    read_run_config,
)
from ..models.classifiers import is_pruned
from ..models.utils import (
    check_weights,
    find_weights,
    load_state,
    load_weights,
)
from ..utils import NO_FILE
from ..utils.plain_config import configs_of_starts
from ..utils.suggestions import some_of
from .config import (
    add_config_arguments,
    check_own_name,
    check_present,
    import_from,
    is_csd,
    load_config,
    note_local_rank,
)
from .errors import concise_errors
from .parser import Parser
from .processes import leave_together, speak_utf8

# What algorithms of MMRazor compute with beside their ``architecture``.
_BESIDE = ('mutator.', 'qmodels.')


def parse_args() -> argparse.Namespace:
    parser = Parser(description='Test (and eval) a model')
    parser.add_argument(
        'config',
        help='test config file, package::path of an installed one, or the '
        'work dir of a run, which needs no checkpoint after it',
    )
    parser.add_argument(
        'checkpoint',
        nargs='?',
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
    parser.add_argument(
        '--val',
        metavar='FOLDER',
        help='images to test on, FOLDER/<class>/*, in place of those that the '
        'config names, if any',
    )
    add_config_arguments(parser)
    args = parser.parse_args()
    note_local_rank(args)
    if not all('=' in pair for pair in args.revise_keys):
        parser.error(
            f'--revise-keys takes PATTERN=NEW, got {args.revise_keys}'
        )
    # A pattern may have an equals sign, (?=...), and a name has none.
    args.revise_keys = [pair.rsplit('=', 1) for pair in args.revise_keys]
    if args.checkpoint is None and not Path(args.config).is_dir():
        parser.error(
            f'name a checkpoint after {args.config}, or give the work dir of '
            'a run alone'
        )
    return args


def let_test_run(args: argparse.Namespace) -> Config:
    """Read the config of a work dir, and name its student.

    Args:
        args (Namespace): With the work dir as ``config``, which becomes that
            in it, as does ``checkpoint``, if none was given.

    Returns:
        Config: As of :func:`load_config`.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If its config is not what a run writes.
    """
    folder = args.config
    if args.checkpoint is None:
        args.checkpoint = str(find_checkpoint(folder))
    path = find_config(Path(folder, 'any'))
    args.config = str(path)
    import_from(os.getcwd())
    # Which refuses what is more than data, and runs nothing.
    cfg = load_config(args, read_run_config(path))
    cfg = look_up_in(folder, cfg, lost=True)
    if args.work_dir is None:
        cfg.work_dir = folder  # which may have been moved
    return cfg


def let_test_on(
    cfg: Config, folder: str, classes: Optional[Sequence[str]]
) -> None:
    """Let a config test on a folder of images.

    Args:
        cfg (Config): Of ``CSDDistillation``, changed in place.
        folder (str): With a folder of images for each class.
        classes (sequence[str], optional): What the folders of classes are
            called, in the order of the logits; None if that is not known.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
        ValueError: If the config does not say which images its networks
            take, or the folders are not the classes.
    """
    prepared = cfg.model.get('data_preprocessor') or cfg.get(
        'data_preprocessor'
    )
    if 'image_shape' not in cfg.model or prepared is None:
        raise ValueError(
            f'--val {folder} needs a config of CSDDistillation with '
            'model.image_shape and model.data_preprocessor: name the images '
            'by test_dataloader, test_evaluator and test_cfg in the config.'
        )
    prepared.to_rgb = False  # these are RGB
    # Folders may be named by the numbers of the classes instead.
    if classes and Path(folder).is_dir():
        classes = names_of_folders(folder, classes)
    data = dict(
        type='mmrazor.FolderImages',
        data_root=folder,
        image_shape=list(cfg.model.image_shape),
        num_classes=prepared.get('num_classes'),
        classes=classes,
    )
    DATASETS.build(data)
    cfg.test_dataloader = dict(
        batch_size=256,
        num_workers=0,
        dataset=data,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    cfg.test_evaluator = dict(type='Accuracy', topk=(1,))
    cfg.test_cfg = dict()


def load_parts_beside(
    model: nn.Module, loop: BaseLoop, args: argparse.Namespace
) -> None:
    """Load what an algorithm of MMRazor computes with beside its network.

    That is what a mutator holds, such as architecture parameters and masks
    of channels, and what quantizers hold, such as scales.

    Args:
        model (nn.Module): The algorithm, whose network is loaded.
        loop (BaseLoop): What tests it.
        args (Namespace): With ``checkpoint`` and ``revise_keys``.

    Raises:
        ValueError: If the checkpoint lacks what was learned there, or has it
            of another network.
    """
    if isinstance(loop, PTQLoop) and not loop.only_val:
        return  # which calibrates the quantizers itself
    own = [key for key in model.state_dict() if key.startswith(_BESIDE)]
    if not own:
        return
    what = f'checkpoint={args.checkpoint}'
    found = find_weights(
        model, args.checkpoint, 'checkpoint', args.revise_keys
    )
    parts = {key: found[key] for key in own if key in found}
    # Masks keep all channels to begin with, as a network alone has them.
    learned = {name for name, _ in model.named_parameters()}
    lacking = [
        key
        for key in own
        if key not in parts and (key in learned or 'qmodels.' in key)
    ]
    if lacking:
        raise ValueError(
            f'{what} has the weights of a network, and not all that '
            f'{type(model).__name__} computes with: it lacks '
            f'{some_of(lacking, 3)}. Give a checkpoint of its run.'
        )
    try:
        load_state(model, parts, strict=False)
    except RuntimeError as error:
        raise ValueError(
            f'{what} does not fit {type(model).__name__}: {error}'
        ) from error
    check_weights(model, what.replace('=', ' '))


def test(args: argparse.Namespace) -> None:
    """Test the student that the arguments name."""
    is_run = Path(args.config).is_dir()
    cfg = let_test_run(args) if is_run else load_config(args)
    check_present(cfg, ('model',), 'test')
    if args.val is not None:
        let_test_on(cfg, args.val, classes_of(cfg, args.checkpoint))
    elif not cfg.get('test_dataloader'):
        raise ValueError(
            'The config has no test_dataloader, so there is nothing to test: '
            'name images by --val FOLDER, with FOLDER/<class>/*.'
        )
    # The run's own folder has its config, which this one is not.
    if args.work_dir is None:
        cfg.work_dir = str(Path(cfg.work_dir, 'test'))
        check_own_name(cfg)
    elif configs_of_starts(cfg.work_dir) and any(
        Path(cfg.work_dir).glob('*.pth')
    ):
        raise ValueError(
            f'--work-dir {args.work_dir} has a run, of which the config would '
            'be replaced: choose another folder, or leave --work-dir out.'
        )
    # Only the student is tested: teachers need no weights for it.
    cfg.model.pop('teacher_ckpt', None)  # of SingleTeacherDistill
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
    runner = QuietRunner.from_cfg(cfg)
    if is_main_process():
        print(f'checkpoint: {args.checkpoint}\nlog: {runner.log_file}')
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
        check_weights(student, f'checkpoint {args.checkpoint}')
        load_parts_beside(model, runner.test_loop, args)
    about = getattr(runner.test_loop.dataloader.dataset, 'about', '')
    if about and is_main_process():
        print(about)
    runner.register_hook(LabelCheckHook())
    runner.test()
    leave_together()


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors():
        test(parse_args())

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The run that a command is given, and its networks."""

import argparse
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn as nn
from mmengine.registry import DefaultScope
from mmrazor.registry import MODELS

from ..datasets import BankFolder
from ..export import (
    check_parts,
    class_names,
    find_checkpoint,
    find_config,
    image_shape_of,
    look_up_in,
    plain_student,
    read_run_config,
)
from ..models.utils import build_teacher, check_weights, load_weights
from ..utils import NO_FILE, check_teachers, read_object
from ..utils.config_files import read_config
from .config import is_csd


def add_run_arguments(
    parser: argparse.ArgumentParser, networks: str, images: int, purpose: str
) -> None:
    """Add the arguments of commands that look at what a run left.

    Args:
        parser (ArgumentParser): Of the command.
        networks (str): What --model may be, besides a file.
        images (int): Default of --images.
        purpose (str): What these are for.
    """
    parser.add_argument(
        'source',
        metavar='RUN_OR_BANK',
        help='the work dir of a run, one of its checkpoints, or its bank',
    )
    parser.add_argument(
        '--model',
        default='student',
        help=f"{networks}, or a file with weights of the student's network. "
        'Default: student',
    )
    parser.add_argument(
        '--images',
        type=int,
        default=images,
        help=f'{purpose}. Default: {images}',
    )
    parser.add_argument(
        '--config', help="the run's config, if it is not in the work dir"
    )


def has_key(path: Path, key: str) -> bool:
    """Whether a file is JSON that a command wrote, which has such a key."""
    return key in read_object(path)


class Run:
    """A run's config, bank and checkpoints.

    Args:
        source (str): Its work dir, a checkpoint in it, or its bank.
        config (str, optional): Its config, if that is not in the work dir.

    Attributes:
        bank (Path): Where its images are, or would be.
    """

    def __init__(self, source: str, config: Optional[str]) -> None:
        path, given = Path(source), None
        if not source or not path.exists():
            raise FileNotFoundError(
                f'{source or repr(source)} does not exist: give the work dir '
                'of a run, or its image bank.'
            )
        self.checkpoint, self.work_dir = path, path
        if BankFolder.exists(path):
            given = path
            self.checkpoint = self.work_dir = path.absolute().parent
        elif path.is_file():
            self.work_dir = path.parent
        if config is None:
            self.cfg = read_run_config(find_config(self.work_dir / 'any'))
        else:
            self.cfg = read_config(config)
            check_parts(self.cfg, config)
        look_up_in(self.work_dir, self.cfg)
        if not isinstance(self.cfg.get('model'), dict):
            raise ValueError('The config of the run has no model.')
        hook = (self.cfg.get('default_hooks') or {}).get('synthesis') or {}
        self.bank = given or self.work_dir / hook.get('bank_dir', 'bank')
        data = (self.cfg.get('train_dataloader') or {}).get('dataset') or {}
        is_bank = str(data.get('type')).endswith('ImageBank')
        if given is None and is_bank and data.get('data_root'):
            self.bank = Path(data['data_root'])  # of a finished one

    @property
    def preprocessor(self) -> Dict[str, Any]:
        """What makes inputs of images, for all networks."""
        found = self.cfg.model.get('data_preprocessor')
        return dict(found or self.cfg.get('data_preprocessor') or {})

    def networks(self, *names: str) -> Tuple[nn.Module, List[nn.Module]]:
        """What makes inputs of images, and networks, see `network_of`."""
        scope = self.cfg.get('default_scope', 'mmpretrain')
        with DefaultScope.overwrite_default_scope(
            self.cfg.model.get('_scope_', scope)
        ):
            preprocessor = MODELS.build(self.preprocessor)
            return preprocessor, [network_of(name, self) for name in names]

    def about_images(self) -> Tuple[Any, Optional[int], Optional[List[str]]]:
        """Shape of the images, number of classes, and their names."""
        if BankFolder.exists(self.bank):
            bank = BankFolder(self.bank)
            return bank.image_shape, bank.num_classes, bank.classes
        shape = image_shape_of(self.cfg)
        if shape is None:
            raise ValueError(
                f'There is no image bank in {self.bank}, and the config does '
                'not say what shape images have: set model.image_shape='
                '(C, H, W) in it.'
            )
        classes = class_names(self.cfg)
        return shape, self.preprocessor.get('num_classes'), classes


def is_teacher(name: str) -> bool:
    """Whether a network is called as a teacher is, and not as a file."""
    return name == 'teacher' or (
        name.startswith('teachers.') and not Path(name).is_file()
    )


def teachers_of(run: Run) -> Dict[str, Any]:
    """The configs of the teachers of a run, by name.

    Raises:
        ValueError: If it has none of ours, or as of :func:`check_teachers`.
        TypeError: As of :func:`check_teachers`.
    """
    teachers = run.cfg.model.get('teachers')
    if teachers is None and not is_csd(run.cfg):
        raise ValueError(
            'This command needs a run of CSDDistillation, which has '
            'model.teachers, but the algorithm of this config is '
            f'{run.cfg.model.get("type")}.'
        )
    check_teachers(teachers)
    return teachers


def teacher_of(name: str, run: Run) -> str:
    """The key of a teacher of a run, named as in :func:`network_of`."""
    teachers = teachers_of(run)
    key = 'teacher' if name == 'teacher' else name.partition('.')[2]
    if name == 'teacher' and len(teachers) == 1:
        (key,) = teachers
    if key not in teachers:
        known = ', '.join(f'teachers.{each}' for each in teachers)
        raise ValueError(f'--model {name}: the run has {known}.')
    return key


def network_of(name: str, run: Run) -> nn.Module:
    """A network of a run, with its weights, in eval mode on the CPU.

    Args:
        name (str): 'student', 'teacher' (or 'teachers.NAME'), or a file with
            weights of the student's network.
        run (Run): The run.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no network of the run, or of another kind, or a
            teacher whose weights are drawn at random.
    """
    if is_teacher(name):
        key, teachers = teacher_of(name, run), run.cfg.model.teachers
        file = str(teachers[key].get('ckpt_path') or NO_FILE)
        is_local = file != NO_FILE and '://' not in file
        if is_local and not Path(file).expanduser().exists():
            raise FileNotFoundError(
                f'There is no file {file}, which the config of the run has as '
                f'model.teachers.{key}.ckpt_path. Put it there again, or '
                'write where it is into a copy of the config, and name that: '
                '--config CONFIG.py'
            )
        teacher = build_teacher(key, teachers[key])
        if file == NO_FILE and not _is_same(
            teacher, build_teacher(key, teachers[key])
        ):
            raise ValueError(
                f'model.teachers.{key} of the run has ckpt_path={NO_FILE!r}, '
                'and its weights are random, others each time that it is '
                'built: it cannot be had again. If they are in a file, write '
                'that into a copy of the config, and name it: --config '
                'CONFIG.py'
            )
        return teacher.cpu().eval()
    path, argument = Path(name), '--model'
    if name == 'student':
        path, argument = find_checkpoint(run.checkpoint), 'checkpoint'
    elif not path.is_file():
        raise FileNotFoundError(
            f'--model {name}: there is no such file. It may be student, '
            "teacher, or a file with weights of the student's network."
        )
    _, model = plain_student(run.cfg, path)
    load_weights(model, str(path), argument)
    check_weights(model, str(path))
    return model


def _is_same(network: nn.Module, other: nn.Module) -> bool:
    """Whether two networks of one config have the same weights."""
    weights, others = network.state_dict(), other.state_dict()
    return all(torch.equal(weights[name], others[name]) for name in weights)

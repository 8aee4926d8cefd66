# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Files that MMRazor and MMEngine load as far as they fit."""

import functools
from typing import Any, NamedTuple, Sequence, Tuple

from ..utils.teachers import forget_files, note_file, want_whole_files
from .rebind import preceded_by


class _File(NamedTuple):
    """Stands for a path that MMRazor gives to ``load_checkpoint``."""

    path: Any
    argument: str
    revise_keys: Sequence[Tuple[str, str]] = ()


def load_all_weights_of_a_file() -> None:
    """MMRazor loads what fits of a checkpoint, and prints what does not.

    With the file of another network, frozen teachers and networks that are
    quantized keep random weights. Here it has to fit, as one of
    ``CSDDistillation`` has to, with ``revise_keys`` beside ``ckpt_path``.
    """
    from mmengine.runner import load_checkpoint
    from mmrazor.models import DataFreeDistillation, SingleTeacherDistill
    from mmrazor.models.algorithms.distill.configurable import (
        datafree_distillation,
        single_teacher_distill,
    )
    from mmrazor.models.algorithms.quantization import mm_architecture

    def load(model, filename):
        if not isinstance(filename, _File):
            return load_checkpoint(model, filename)
        # Not above: it imports all networks.
        from ..models.utils import check_weights, load_weights

        forget_files(model)
        load_weights(model, *filename)
        check_weights(model, filename.argument)

    def single(arguments):
        if not arguments.get('teacher_trainable'):
            _name_file(arguments, 'teacher_ckpt')

    def several(arguments):
        if isinstance(arguments.get('teachers'), dict):
            arguments['teachers'] = {
                name: _of_teacher(name, cfg)
                for name, cfg in arguments['teachers'].items()
            }

    def quantized(arguments):
        _name_file(arguments, 'float_checkpoint')

    for cls, module, change in (
        (SingleTeacherDistill, single_teacher_distill, single),
        (DataFreeDistillation, datafree_distillation, several),
        (mm_architecture.MMArchitectureQuant, mm_architecture, quantized),
    ):
        cls.__init__ = preceded_by(cls.__init__, change)
        module.load_checkpoint = load


def _name_file(arguments, name):
    if arguments.get(name):
        arguments[name] = _File(arguments[name], f'model.{name}')


def _of_teacher(name, cfg):
    if 'ckpt_path' not in cfg:
        return cfg
    argument = f'model.teachers.{name}.ckpt_path'
    file = _File(cfg['ckpt_path'], argument, cfg.get('revise_keys') or ())
    return dict(cfg, ckpt_path=file)


def initialize_teachers_by_whole_files() -> None:
    """MMEngine takes what fits of a file that an ``init_cfg`` names.

    That is meant for parts of networks that are trained. A frozen teacher
    would have random weights, with a warning at most; MMRazor's data-free
    algorithms read no such file at all.
    """
    from mmengine.model.weight_init import PretrainedInit, update_init_info
    from mmrazor.models import DataFreeDistillation, SingleTeacherDistill

    call = PretrainedInit.__call__

    @functools.wraps(call)
    def load(self, module):
        if not hasattr(module, 'whole_file'):
            call(self, module)
            # A network that is built with its weights, as by sub_model, is
            # only known to be a teacher afterwards.
            note_file(module, self.checkpoint, self.prefix)
            return
        from ..models.utils import load_init_file

        load_init_file(module, self.checkpoint, self.prefix)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=self._get_init_info())

    PretrainedInit.__call__ = load

    def single(self):
        if not self.teacher_trainable:
            want_whole_files(self.teacher, 'model.teacher')

    def several(self):
        for name, teacher in self.teachers.items():
            where = f'model.teachers.{name}.build_cfg'
            named = want_whole_files(teacher, where)
            # Nobody does: a ModuleDict has no init_weights().
            if named and not getattr(teacher, 'is_init', True):
                teacher.init_weights()

    def followed_by(initialize, mark):

        @functools.wraps(initialize)
        def __init__(self, *args, **kwargs):
            initialize(self, *args, **kwargs)
            mark(self)

        return __init__

    for cls, mark in (
        (SingleTeacherDistill, single),
        (DataFreeDistillation, several),
    ):
        cls.__init__ = followed_by(cls.__init__, mark)

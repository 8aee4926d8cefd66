# Copyright (c) csd_mmrazor developers. All rights reserved.
import re
from typing import Any, Dict, Optional

import torch
import torch.nn as nn
from mmrazor.registry import MODELS

from ...utils import NO_FILE, without_own_weights
from ...utils.teachers import want_whole_files
from .checkpoints import load_weights
from .healthy import check_weights


def build_teacher(name: str, cfg: Dict[str, Any]) -> nn.Module:
    """Build a teacher with its weights.

    Args:
        name (str): What it is called in the config.
        cfg (dict): ``build_cfg``, and ``ckpt_path`` and ``revise_keys`` as of
            :func:`load_weights`. :data:`NO_FILE` keeps the weights that it is
            built with.

    Raises:
        ValueError: If its weights are not all numbers, or as of
            :func:`load_weights`.
    """
    path = cfg.get('ckpt_path')
    is_loaded = cfg.get('ckpt_path', NO_FILE) != NO_FILE
    # What is drawn later is the same however a teacher is built.
    with torch.random.fork_rng([], enabled=is_loaded):
        model = MODELS.build(without_own_weights(cfg['build_cfg'], path))
    if is_loaded:
        load_weights(
            model,
            path,
            f'model.teachers.{name}.ckpt_path',
            cfg.get('revise_keys', ()),
        )
    else:
        want_whole_files(model, f'model.teachers.{name}.build_cfg')
        model.init_weights()
    check_weights(model, f'teacher "{name}"')
    return model


def load_init_file(
    module: nn.Module, path: str, prefix: Optional[str]
) -> None:
    """Load what an ``init_cfg`` names, with all weights of the module.

    Args:
        module (nn.Module): Of :func:`want_whole_files`.
        path (str): As of :func:`load_weights`.
        prefix (str, optional): What stands before the names that are meant,
            as of MMEngine's ``PretrainedInit``.

    Raises:
        FileNotFoundError, CheckpointError, ValueError, TypeError: As of
            :func:`load_weights`, and if they are not all numbers.
    """
    argument, is_part = module.whole_file
    revise_keys = []
    if prefix:
        start = re.escape(prefix.rstrip('.') + '.')
        revise_keys = [(f'^(?!{start}).*', ''), (f'^{start}', '')]
    load_weights(module, path, argument, revise_keys, is_part=is_part)
    check_weights(module, argument)

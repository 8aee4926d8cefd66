# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict

import torch
import torch.nn as nn
from mmrazor.registry import MODELS

from ...utils import NO_FILE, without_own_weights
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
        model.init_weights()
    check_weights(model, f'teacher "{name}"')
    return model

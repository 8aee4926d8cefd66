# Copyright (c) csd_mmrazor developers. All rights reserved.
from inspect import signature
from typing import Any, Dict

import torch
from mmengine.registry import OPTIMIZERS

# With any of these, whoever wrote a config has decided.
_CHOICES = {'foreach', 'fused', 'capturable', 'differentiable'}


def with_foreach(cfg: Dict[str, Any]) -> Dict[str, Any]:
    """Let an optimizer step all weights in a few calls.

    torch does so by itself on GPUs alone. On CPUs it saves the time of a call
    for each operation and weight. For Adam and SGD, of which it was tested,
    the result is the same to the bit.

    Args:
        cfg (dict): Of an optimizer, with its ``type``.

    Returns:
        dict: The same with ``foreach=True``, if the optimizer has that and
        the config does not choose.
    """
    kind = cfg.get('type')
    if isinstance(kind, str):
        kind = OPTIMIZERS.get(kind)
    if (
        not isinstance(kind, type)
        or 'foreach' not in signature(kind).parameters
        or _CHOICES & {*cfg}
        or torch.is_tensor(cfg.get('lr'))
    ):
        return cfg
    return dict(cfg, foreach=True)

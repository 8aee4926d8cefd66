# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy
from itertools import chain
from typing import Any, Dict, Optional

import torch.nn as nn
from mmengine.model import is_model_wrapper

from .graph_bn import calls_batch_norm, with_bn_layers


def unwrapped(module: nn.Module) -> nn.Module:
    """A network without DataParallel and the like around it or its parts.

    MMEngine saves such wrappers' weights by other names than it loads, and on
    GPUs they refuse what is on the CPU. Exported graphs get BN layers.

    Args:
        module (nn.Module): The network; stays as it is.

    Returns:
        nn.Module: The network itself, or what it wraps. If parts of that are
        wrapped or graphs, a copy with the same weights and buffers.
    """
    while is_model_wrapper(module):
        module = module.module
    wrappers = [part for part in module.modules() if is_model_wrapper(part)]
    graphs = [part for part in module.modules() if calls_batch_norm(part)]
    if not (wrappers or graphs):
        return module
    # What is in here, copies take as it is.
    memo: Dict[int, Any] = {
        id(each): each for each in chain(module.parameters(), module.buffers())
    }
    for graph in graphs:
        memo[id(graph)] = with_bn_layers(graph, memo)
    for wrapper in reversed(wrappers):  # inner ones come after outer ones
        inner = memo[id(wrapper)] = deepcopy(wrapper.module, memo)
        if not hasattr(inner, 'module'):
            # A forward() may say ``self.part.module``. As a plain attribute,
            # it is no part of itself.
            vars(inner)['module'] = inner
    return deepcopy(module, memo)


def place_in_wrappers(module: nn.Module) -> Optional[str]:
    """Where in a network is what :func:`unwrapped` returns, as code has it.

    Args:
        module (nn.Module): The network, as it was made.

    Returns:
        str | None: '' if it is the network itself, ``.module`` for each
        wrapper around it, or None where it is a copy.
    """
    inner, place = module, ''
    while is_model_wrapper(inner):
        inner, place = inner.module, f'{place}.module'
    return place if unwrapped(inner) is inner else None

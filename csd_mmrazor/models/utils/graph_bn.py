# Copyright (c) csd_mmrazor developers. All rights reserved.
"""BN layers for the graphs of ``torch.export``, which call functions."""

import operator
from copy import deepcopy
from typing import Any, Dict, Optional

import torch
import torch.fx
import torch.nn as nn
from torch.nn.modules.batchnorm import _BatchNorm

_PARTS = ('weight', 'bias', 'running_mean', 'running_var')
_KINDS = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
# As it is exported, and as run_decompositions() leaves it.
_BATCH_NORM = torch.ops.aten.batch_norm.default
_DECOMPOSED = torch.ops.aten._native_batch_norm_legit_no_training.default


def calls_batch_norm(module: nn.Module) -> bool:
    """Whether it is a graph with calls that could be BN layers."""
    return isinstance(module, torch.fx.GraphModule) and any(
        _layer_of(module, node) for node in module.graph.nodes
    )


def with_bn_layers(
    module: torch.fx.GraphModule, memo: Dict[int, Any]
) -> torch.fx.GraphModule:
    """A graph that calls BN layers where it called functions.

    Only layers have statistics that images can be matched to.

    Args:
        module (GraphModule): Stays as it is.
        memo (dict): Of ``deepcopy``, with what the copy shares.

    Returns:
        GraphModule: A copy with the same keys in its state dict. What was
        exported in train mode stays a function.
    """
    found = deepcopy(module, memo)
    for node in [*found.graph.nodes]:
        layer = _layer_of(found, node)
        if layer is None:
            continue
        name = _holder(node)
        parent, _, last = name.rpartition('.')
        setattr(found.get_submodule(parent), last, layer)
        with found.graph.inserting_before(node):
            called = found.graph.call_module(name, (node.args[0],))
        # Of the same shape, which the next one asks for.
        called.meta['val'] = node.args[0].meta['val']
        replaced = [node]
        if node.target is _DECOMPOSED:
            replaced = [*node.users]
        for each in replaced:
            each.replace_all_uses_with(called)
            found.graph.erase_node(each)
        if node not in replaced:
            found.graph.erase_node(node)
    found.recompile()
    return found


def _holder(node: torch.fx.Node) -> str:
    """The name of the module that holds all weights of a call, or ''."""
    given = dict(zip(_PARTS, node.args[1:5]))
    stem = str(getattr(given['running_mean'], 'target', '')).rpartition('.')[0]
    fits = all(
        getattr(arg, 'target', None) == f'{stem}.{part}'
        for part, arg in given.items()
        if arg is not None or part.startswith('running')
    )
    return stem if fits else ''


def _layer_of(
    module: torch.fx.GraphModule, node: torch.fx.Node
) -> Optional[nn.Module]:
    """The BN layer that does what a node does, if there is one."""
    if node.target is _BATCH_NORM and not node.args[5]:
        momentum, eps = node.args[6:8]
    elif node.target is _DECOMPOSED:
        momentum, eps = node.args[5:7]
        # Its other results are empty.
        if any(user.target is not operator.getitem for user in node.users):
            return None
    else:
        return None
    stem = _holder(node)
    shown = getattr(node.args[0], 'meta', {}).get('val')
    kind = _KINDS.get(getattr(shown, 'ndim', None))
    if not stem or kind is None:
        return None
    holder = module.get_submodule(stem)
    if isinstance(holder, _BatchNorm):
        return holder  # which is called more than once
    if type(holder) is not nn.Module:
        return None
    # An average over all batches has None, which is exported as 0.
    layer = kind(len(holder.running_mean), eps, momentum or None)
    for part in _PARTS + ('num_batches_tracked',):
        setattr(layer, part, getattr(holder, part, None))
    # As it was exported.
    return layer.eval()

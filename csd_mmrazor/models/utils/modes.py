# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Dict, Iterator, Optional

import torch
import torch.nn as nn
from mmengine.model.weight_init import initialize
from torch import Tensor
from torch.nn.parameter import UninitializedTensorMixin
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import is_parametrized

from ...utils.teachers import is_pretrained
from .own_memory import memory_of

_TRAIN = nn.Module.train


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules in eval mode and their modes back afterwards.

    Layers that were in train mode keep nothing of their weights for eval
    mode, see :func:`renew_modes`: these change before the next time.
    """
    modes = [(m, m.training) for module in modules for m in module.modules()]
    keeping = [
        module
        for module, training in modes
        if training and module._parameters and type(module).train is not _TRAIN
    ]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module in keeping:
            needed = [(p, p.requires_grad) for p in module.parameters()]
            with suppress(NotImplementedError, TypeError):
                module.train()
            for param, needs_grad in needed:
                param.requires_grad = needs_grad
        for module, training in modes:
            module.training = training


def renew_modes(module: nn.Module) -> None:
    """Let layers forget what they keep of their weights for eval mode.

    Such as the attention biases of timm, which go by ``train()``. Where
    weights are loaded and modes are set by their flags alone, those of before
    would stay. Modes, and what needs gradients, are left as they are.

    Args:
        module (nn.Module): Whose weights were loaded.
    """
    own = [m for m in module.modules() if type(m).train is not _TRAIN]
    modes = [(m, m.training) for m in module.modules()]
    needed = [(p, p.requires_grad) for p in module.parameters()]
    for part in own:
        with suppress(NotImplementedError, TypeError):  # of torch.export
            part.train(True)
            part.train(False)
    for part, training in modes if own else ():
        part.training = training
    for param, needs_grad in needed if own else ():
        param.requires_grad = needs_grad


@contextmanager
def as_in_training(*modules: nn.Module) -> Iterator[None]:
    """Put modules in train mode for passes of which nothing is left.

    Their modes, their buffers, such as the statistics of BN layers, and
    torch's random state are as before when the context closes. No gradient is
    computed.
    """
    modes = [(m, m.training) for module in modules for m in module.modules()]
    buffers = [
        (module, name, buffer, memory_of(buffer).clone())
        for module, _ in modes
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    devices = {b.device for _, _, b, _ in buffers if b.device.type == 'cuda'}
    with torch.random.fork_rng(list(devices)), torch.no_grad():
        for module in modules:
            module.train()
        try:
            yield
        finally:
            for module, name, buffer, value in buffers:
                memory_of(buffer).copy_(value)
                module._buffers[name] = buffer
            for module, training in modes:
                module.training = training


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Put modules in eval mode and keep gradients off their parameters.

    Gradients still pass through them to their inputs, at the cost of the
    inputs' gradients alone.
    """
    params = [
        (param, param.requires_grad)
        for module in modules
        for param in module.parameters()
    ]
    with evaluating(*modules):
        for param, _ in params:
            param.requires_grad_(False)
        try:
            yield
        finally:
            for param, requires_grad in params:
                param.requires_grad_(requires_grad)


def initial_values(module: nn.Module) -> Dict[str, Tensor]:
    """Copies of all weights and buffers of a module that was just built."""
    return {
        name: value.detach().clone()
        for name, value in _values(module).items()
        if not isinstance(value, UninitializedTensorMixin)
    }


def reset_weights(
    module: nn.Module, initial: Optional[Dict[str, Tensor]] = None
) -> None:
    """Re-initialise the weights of a module.

    All first gets the values of ``initial``, so that nothing is left of
    former rounds. Then every layer whose weights are not frozen gets torch's
    own initial weights and statistics, and the module, and each one in it that
    has weights to train, is initialised by its ``init_cfg``, if it has one.

    Args:
        module (nn.Module): Changed in place.
        initial (dict[str, Tensor], optional): Of :func:`initial_values`, for
            what no layer's ``reset_parameters()`` draws.
    """
    values = _values(module)
    with torch.no_grad():
        for name, value in (initial or {}).items():
            # Buffers may come and go.
            if name in values and values[name].shape == value.shape:
                values[name].copy_(value)
    frozen_weights = [
        (value, value.detach().clone())
        for value in module.parameters()
        if not value.requires_grad
    ]
    for layer in module.modules():
        weights = [*layer.parameters()]
        if weights and not any(each.requires_grad for each in weights):
            continue
        if is_parametrized(layer):
            _reset_parametrized(layer)
        elif hasattr(layer, 'reset_parameters'):
            layer.reset_parameters()
        elif hasattr(layer, '_reset_parameters'):  # MultiheadAttention
            layer._reset_parameters()
    _initialize(module)
    with torch.no_grad():
        for value, before in frozen_weights:
            value.copy_(before)


def _initialize(part: nn.Module) -> None:
    """Initialise what is trained by each ``init_cfg``, in MMEngine's order."""
    if not any(each.requires_grad for each in part.parameters()):
        return
    init_cfg = getattr(part, 'init_cfg', None) or []
    init_cfg = init_cfg if isinstance(init_cfg, list) else [init_cfg]
    files = [each for each in init_cfg if is_pretrained(each)]
    initialize(part, [each for each in init_cfg if each not in files])
    for child in part.children():
        _initialize(child)
    initialize(part, files)


def _values(module: nn.Module) -> Dict[str, Tensor]:
    return dict(chain(module.named_parameters(), module.named_buffers()))


def _reset_parametrized(layer: Any) -> None:
    """Draw weights that are computed, as those of ``spectral_norm`` are."""
    if not hasattr(layer, 'reset_parameters'):
        return
    with torch.no_grad(), parametrize.cached():
        layer.reset_parameters()  # draws what is cached
        drawn = {name: getattr(layer, name) for name in layer.parametrizations}
    for name, value in drawn.items():
        # Not all can be computed backwards; those keep their values.
        with suppress(NotImplementedError, RuntimeError):
            setattr(layer, name, value)

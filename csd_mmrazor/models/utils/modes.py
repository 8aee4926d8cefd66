# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager
from typing import Iterator

import torch
import torch.nn as nn
from mmengine.model.weight_init import initialize

from .own_memory import memory_of


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules in eval mode and their modes back afterwards."""
    modes = [(m, m.training) for module in modules for m in module.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


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


def reset_weights(module: nn.Module) -> None:
    """Re-initialise the weights of a module.

    Every layer first gets torch's own initial weights and statistics, then
    the module's ``init_cfg``, if it has one, is applied.
    """
    for layer in module.modules():
        if hasattr(layer, 'reset_parameters'):
            layer.reset_parameters()
    init_cfg = getattr(module, 'init_cfg', None)
    if init_cfg:
        initialize(module, init_cfg)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What an optimizer remembers of its parameters, as tensors by name."""

from typing import Dict

import torch
from torch import Tensor
from torch.optim import Optimizer


def optimizer_state(optimizer: Optimizer) -> Dict[str, Tensor]:
    """The state of an optimizer.

    Args:
        optimizer (Optimizer): Any.

    Returns:
        dict[str, Tensor]: By number of the parameter and name, such as
        '0.exp_avg'. It shares memory with the optimizer.
    """
    return {
        f'{index}.{name}': value.detach()
        for index, values in optimizer.state_dict()['state'].items()
        for name, value in values.items()
        if torch.is_tensor(value)
    }


def load_optimizer_state(
    optimizer: Optimizer, state: Dict[str, Tensor]
) -> None:
    """Take over a copy of what :func:`optimizer_state` returned.

    Args:
        optimizer (Optimizer): Of the same kind, for parameters of the same
            shapes in the same order.
        state (dict[str, Tensor]): May be empty, that of a new optimizer.
    """
    current = optimizer.state_dict()
    on_device = {
        index
        for group in current['param_groups']
        if group.get('capturable') or group.get('fused')
        for index in group['params']
    }
    values: Dict[int, Dict[str, Tensor]] = {}
    for name, value in state.items():
        index, key = name.split('.', 1)
        if key == 'step' and int(index) not in on_device:
            # Torch leaves it where it was, and would wait for it each step.
            value = value.cpu()
        values.setdefault(int(index), {})[key] = value.clone()
    optimizer.load_state_dict(dict(current, state=values))

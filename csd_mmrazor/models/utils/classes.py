# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict

import torch
import torch.nn as nn
from torch import Tensor

from ...utils.error_text import named_error
from .outputs import check_order, logits_of


def count_classes(
    model: nn.Module, inputs: Tensor, name: str, images: str
) -> int:
    """The number of classes of a classifier, from one pass.

    Args:
        model (nn.Module): The classifier.
        inputs (Tensor): (N, C, H, W), normalised.
        name (str): What it is called, for the messages.
        images (str): What ``inputs`` are called, for the messages.

    Returns:
        int: The width K of its logits, (N, K).

    Raises:
        ValueError: If it does not take the images, or returns no logits or
            features before them.
    """
    name = f'{name} ({type(model).__name__})'
    try:
        output = model(inputs, mode='tensor')
    except Exception as error:
        precision = about_precision(model)
        hint = f' It {precision}' if precision else ''
        raise ValueError(
            f'{name} does not take {images}: {named_error(error)}{hint}'
        ) from error
    try:
        num_classes = logits_of(output).shape[1]
    except TypeError as error:
        raise ValueError(f'{name}: {error}') from error
    if isinstance(output, (list, tuple)) and len(output) > 1:
        with torch.enable_grad():
            again = inputs.detach().requires_grad_() * 1
            check_order(model(again, mode='tensor'), name)
    return num_classes


def about_precision(model: nn.Module) -> str:
    """What to tell of a network with weights of another precision.

    Args:
        model (nn.Module): The network.

    Returns:
        str: Empty if all of its weights are float32, as images are.
    """
    found = {
        str(param.dtype)
        for param in model.parameters()
        if param.is_floating_point() and param.dtype != torch.float32
    }
    if not found:
        return ''
    return (
        f'has weights in {" and ".join(sorted(found))}, where images are '
        'float32: convert it by .float(). Where its class or its forward() '
        'chooses the precision, take that out (amp chooses one for runs).'
    )


def same_classes(classes: Dict[str, int]) -> int:
    """The number of classes that several networks share.

    Args:
        classes (dict[str, int]): Of each network, by name.

    Returns:
        int: The number.

    Raises:
        ValueError: If they differ.
    """
    if len(set(classes.values())) > 1:
        raise ValueError(
            'Teachers and student should have the same number of classes, '
            f'but got {classes}. Set head.num_classes of the one that is off.'
        )
    return next(iter(classes.values()))

# Copyright (c) csd_mmrazor developers. All rights reserved.
from collections import Counter
from typing import List, Tuple

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.parameter import UninitializedTensorMixin


def own_memory(module: nn.Module, name: str) -> nn.Module:
    """Give elements of weights and buffers a number each, as in an equal one.

    Those of ``tensor.expand(4)`` share one. Passes read them; nothing can be
    written to them, such as weights of a file.

    Args:
        module (nn.Module): Changed where there are such tensors.
        name (str): What it is called, for the message.

    Returns:
        nn.Module: The same.

    Raises:
        ValueError: If such a tensor is to be trained, or shares its memory
            with another one, so that one may follow the other.
    """
    check_memory(module, name)
    for _, part, key, value in _tensors_of(module):
        if is_overlapping(value):
            made = value.detach().clone(memory_format=torch.contiguous_format)
            if isinstance(value, nn.Parameter):
                part._parameters[key] = nn.Parameter(made, False)
            else:
                part._buffers[key] = made
    return module


def check_memory(module: nn.Module, name: str) -> None:
    """Check that :func:`own_memory` can do that.

    Args:
        module (nn.Module): The network.
        name (str): What it is called, for the message.

    Raises:
        ValueError: As of :func:`own_memory`.
    """
    tensors = _tensors_of(module)
    users = Counter(_storage(value) for *_, value in tensors)
    for path, _, _, value in tensors:
        if not is_overlapping(value):
            continue
        what = f'{path} of {name} ({type(module).__name__})'
        how = 'Write .expand(...).clone() where it is made.'
        if isinstance(value, nn.Parameter) and value.requires_grad:
            raise ValueError(
                f'{what} is a weight whose elements share memory, which no '
                f'optimizer can train. {how}'
            )
        if users[_storage(value)] > 1:
            raise ValueError(
                f'{what} has elements that share memory with each other and '
                f'with another tensor. {how}'
            )


def check_ties(module: nn.Module, name: str) -> None:
    """Check that what is trained shares memory with no other tensor.

    Copies have such tensors apart, and so does a network that was moved: one
    no longer follows the other. One parameter in several layers stays one.

    Args:
        module (nn.Module): The network.
        name (str): What it is called, for the message.

    Raises:
        ValueError: If there are such tensors; names two.
    """
    found = [each for each in _tensors_of(module) if each[3].numel()]
    before: List[Tuple[int, str, Tensor]] = []  # ends, names and values
    for path, _, _, value in sorted(found, key=lambda e: e[3].data_ptr()):
        start = value.data_ptr()
        before = [each for each in before if each[0] > start]
        for _, other, earlier in before:
            if (
                value is not earlier
                and (_is_trained(value) or _is_trained(earlier))
                and _share_elements(earlier, value)
            ):
                raise ValueError(
                    f'{other} and {path} of {name} ({type(module).__name__}) '
                    'share memory, but are two tensors, which copies have '
                    'apart: give both layers one parameter (b.weight = '
                    'a.weight), use it in forward() in place of a buffer, or '
                    'let one be a .clone() of the other.'
                )
        length = memory_of(value).numel() * value.element_size()
        before.append((start + length, path, value))


def _tensors_of(
    module: nn.Module,
) -> List[Tuple[str, nn.Module, str, Tensor]]:
    """Names, layers, keys in these and values of weights and buffers."""
    return [
        (f'{path}.{key}'.lstrip('.'), part, key, value)
        for path, part in module.named_modules()
        for key, value in (*part._parameters.items(), *part._buffers.items())
        if value is not None
        and not isinstance(value, UninitializedTensorMixin)
        and value.layout is torch.strided
    ]


def is_overlapping(tensor: Tensor) -> bool:
    """Whether elements of a tensor may stand in the same memory."""
    reach = 1
    for step, size in sorted(zip(tensor.stride(), tensor.shape)):
        if size > 1:
            if step < reach:
                return True
            reach += step * (size - 1)
    return False


def memory_of(tensor: Tensor) -> Tensor:
    """The memory from a tensor's first element to its last, (N, )."""
    if tensor.layout is not torch.strided or not tensor.numel():
        return tensor
    steps = zip(tensor.stride(), tensor.shape)
    length = 1 + sum(step * (size - 1) for step, size in steps)
    return tensor.as_strided((length,), (1,))


def _share_elements(one: Tensor, other: Tensor) -> bool:
    """Whether an element begins where one of another tensor does."""
    places = (
        # Views of a larger tensor may take turns.
        torch.arange(memory_of(each).numel())
        .as_strided(each.shape, each.stride())
        .mul(each.element_size())
        .add(each.data_ptr())
        for each in (one, other)
    )
    return bool(torch.isin(*places).any())


def _is_trained(value: Tensor) -> bool:
    return isinstance(value, nn.Parameter) and value.requires_grad


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()

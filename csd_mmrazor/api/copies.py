# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether a copy of a network is one, and computes the same."""

import inspect
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Dict, Iterator

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from ..models.utils import evaluating, logits_of


class _UsesOriginal(Exception):
    """A copy uses a part of what it was copied from."""


class _Tensors(TorchFunctionMode):
    """Raises where one of some tensors is used.

    Args:
        names (dict[int, str]): Their names, by ``id()``.
    """

    def __init__(self, names: Dict[int, str]) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Look at the arguments of a function of torch."""
        for each in tree_leaves((args, kwargs)):
            if id(each) in self.names:
                raise _UsesOriginal(self.names[id(each)])
        return func(*args, **(kwargs or {}))


def check_copy(
    module: nn.Module, copy: nn.Module, inputs: Tensor, name: str
) -> None:
    """Check that a copy has nothing to do with what it was copied from.

    A lambda, hook or inner function that refers to a network stays the same
    when that is copied: the copy would be trained, and the network itself
    used.

    Args:
        module (nn.Module): The network.
        copy (nn.Module): Of it, on the CPU.
        inputs (Tensor): (N, C, H, W), normalised.
        name (str): 'teacher' or 'student', for messages.

    Raises:
        ValueError: If the copy shares weights with the network, a pass of it
            uses a part of that, or it computes something else.
    """
    who = f'{name} ({type(module).__name__}) cannot be copied: '
    parts = {part: key for key, part in module.named_modules()}
    for part in copy.modules():
        key = parts.pop(part, None)
        if key is not None and next(_tensors(part), None) is not None:
            raise ValueError(
                f'{who}__deepcopy__ of {type(part).__name__} returns '
                f'{_place(key)} itself, so that the copy would share its '
                'weights: leave it out, or let it return a copy.'
            )
    try:
        with evaluating(copy), torch.no_grad(), _using_none(module, parts):
            found = _predict(copy, inputs)
    except _UsesOriginal as error:
        raise ValueError(
            f'{who}the copy still uses {_place(str(error))}, since a lambda '
            'or inner function, in an attribute of the network, refers to the '
            'network itself. Write a method in its place.'
        ) from error
    except Exception:
        return  # which trace() tells of
    if not any(map(partial(_refers_to, parts=parts), copy.modules())):
        return  # nor is the network to be run without need
    try:
        with evaluating(module), torch.no_grad():
            device = next(_tensors(module)).device
            expected = _predict(module, inputs.to(device)).to(found.device)
    except Exception:
        return
    # On another device, they differ a little.
    if found.shape != expected.shape or not torch.allclose(
        *(found.nan_to_num(), expected.nan_to_num()),
        rtol=1e-2,
        atol=1e-2 * float(expected.nan_to_num().abs().max()),
    ):
        raise ValueError(
            f'{who}the copy computes something else. A hook, lambda or inner '
            'function may write into an attribute of the network itself, of '
            'which the copy has what an earlier pass left: write a method in '
            'its place.'
        )


def _refers_to(part: nn.Module, parts: Dict[nn.Module, str]) -> bool:
    """Whether a function that a module has refers to one of some modules."""
    values, seen = tree_leaves(vars(part)), set()
    while values:
        value = values.pop()
        if not inspect.isfunction(value) or value in seen:
            continue
        seen.add(value)
        with suppress(ValueError):  # of a name that has no value yet
            told = inspect.getclosurevars(value)
            values += told.nonlocals.values()
            named = [*told.nonlocals.values(), *told.globals.values()]
            if any(isinstance(v, nn.Module) and v in parts for v in named):
                return True
    return False


def _predict(network: nn.Module, inputs: Tensor) -> Tensor:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return logits_of(network(inputs))


@contextmanager
def _using_none(
    module: nn.Module, parts: Dict[nn.Module, str]
) -> Iterator[None]:
    """Raise where a part, a weight or a buffer of a network is used."""

    def note(part: nn.Module, _: Any) -> None:
        if part in parts:
            raise _UsesOriginal(parts[part])

    names = {
        id(tensor): key
        for listed in (module.named_parameters(), module.named_buffers())
        for key, tensor in listed
    }
    handle = register_module_forward_pre_hook(note)
    try:
        with _Tensors(names):
            yield
    finally:
        handle.remove()


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _place(key: str) -> str:
    return f'its "{key}"' if key else 'it'

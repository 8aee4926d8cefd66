# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a network makes of the shapes of its tensors, seen in one pass."""

import copy
from contextlib import ExitStack
from math import prod
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch
import torch.nn as nn
from torch.utils._python_dispatch import TorchDispatchMode

# Heights and widths of images that are tried.
_SIZES = (224, 32, 64, 28, 96, 128, 16, 8, 4, 48, 112, 256, 299, 384, 512)
_VIEWS = ('aten::view', 'aten::_unsafe_view', 'aten::_reshape_alias')

Shape = Tuple[int, ...]


class View(NamedTuple):
    """A tensor that was given another shape."""

    before: Shape
    after: Shape
    layer: str  # the one that ran last


def views_of(
    network: nn.Module,
    inputs: torch.Tensor,
    before_layer: Optional[Callable[[str, torch.Tensor], None]] = None,
) -> List[View]:
    """Run a network once, and note each tensor that gets another shape.

    Args:
        network (nn.Module): In eval mode.
        inputs (Tensor): What it takes.
        before_layer (callable, optional): Called with the name and the input
            of each layer without others in it, before it runs. Defaults to
            None.
    """
    seen: List[View] = []
    last = ['']

    class Note(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if func._schema.name in _VIEWS:
                shapes = tuple(args[0].shape), tuple(out.shape)
                seen.append(View(*shapes, last[0]))
            return out

    def note(name: str, args: Any) -> None:
        last[0] = name
        if before_layer is not None and args and torch.is_tensor(args[0]):
            before_layer(name, args[0])

    with ExitStack() as stack:
        for name, layer in network.named_modules():
            if next(layer.children(), None) is None:
                handle = layer.register_forward_pre_hook(
                    lambda _, args, name=name: note(name, args)
                )
                stack.callback(handle.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng([]))
        stack.enter_context(Note())
        network(inputs)
    return seen


def find_inputs(
    network: nn.Module,
) -> Optional[Tuple[torch.Tensor, List[View]]]:
    """Images that a network takes, of no memory if it can be without.

    Args:
        network (nn.Module): Of any class; stays as it is.

    Returns:
        tuple[Tensor, list[View]] | None: (2, C, S, S), zeros, and what
        :func:`views_of` says of them; None if none of the usual sizes is
        taken.
    """
    first = next((p for p in network.parameters() if p.ndim == 4), None)
    channels = [] if first is None else [first.shape[1]]
    for device in ('meta', 'cpu'):
        try:
            tried = copy.deepcopy(network).to(device).eval()
        except Exception:  # whatever its parts make of it
            continue
        for size in _SIZES:
            for count in dict.fromkeys([*channels, 3, 1]):
                inputs = torch.zeros(2, count, size, size, device=device)
                try:
                    return inputs, views_of(tried, inputs)
                except Exception:
                    continue
    return None


def split_channels(whole: List[View], narrowed: List[View]) -> Optional[str]:
    """Find channels that were narrowed and are divided among several axes.

    How, as by heads of attention, no width tells. Maps whose channels are
    shuffled, and are then as they were, are none.

    Args:
        whole (list[View]): Of a network.
        narrowed (list[View]): Of the same with fewer channels.

    Returns:
        str | None: The layer that ran last before the first; None if there
        is none.
    """
    for place, (one, other) in enumerate(zip(whole, narrowed)):
        after = whole[place + 1] if place + 1 < len(whole) else None
        is_shuffle = (
            len(one.before) == 4
            and len(one.after) == 5
            and after is not None
            and after.after == one.before
        )
        if is_shuffle or len(one.before) != len(other.before):
            continue
        for start, end, first, last in _segments(one.before, one.after):
            is_split = sum(n > 1 for n in one.after[first:last]) > 1
            is_narrowed = one.before[start:end] != other.before[start:end]
            if first and is_split and is_narrowed:
                return one.layer or 'the network'
    return None


def _segments(before: Shape, after: Shape) -> List[Tuple[int, int, int, int]]:
    """Axes that become each other: slices of the one and of the other."""
    found, start, first, end, last = [], 0, 0, 0, 0
    while end < len(before) and last < len(after):
        end, last = end + 1, last + 1
        while (size := prod(before[start:end])) != (
            new := prod(after[first:last])
        ):
            if size < new:
                end += 1
            else:
                last += 1
        found.append((start, end, first, last))
        start, first = end, last
    return found


def heads_of(network: nn.Module) -> Dict[str, str]:
    """Modules that say of themselves that they have heads.

    Args:
        network (nn.Module): Of any class.

    Returns:
        dict[str, str]: The attribute that says so, by names of modules.
    """
    found = {}
    for name, module in network.named_modules():
        for key, value in vars(module).items():
            if 'head' in key.lower() and type(value) is int and value > 1:
                found[name] = f'{key}={value}'
    return found

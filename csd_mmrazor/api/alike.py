# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What is not alike in two networks but the values of their weights."""

from functools import partial
from pathlib import PurePath
from types import CellType, FunctionType, MethodType
from typing import Any, Dict, Iterator, Optional, Set, Tuple
from weakref import ref

import numpy as np
import torch
import torch.nn as nn
from mmengine.model import BaseModule
from torch.nn.utils.parametrize import is_parametrized

# Values whose text tells all about them.
_PLAIN = (
    *(bool, int, float, complex, str, bytes, type(None), range, slice),
    *(torch.dtype, torch.layout, torch.memory_format, np.generic, PurePath),
)
# What only says where a network comes from, or what was done with it:
# compile(), torch.jit.script(), a backward hook that was removed.
_ORIGIN = (
    *('_config', '_metainfo', '_dataset_meta', '_is_init'),
    *('_compiled_call_impl', '__overloads__', '_is_full_backward_hook'),
)
# What is alike by assumption, by its ids; holds it, so that ids stay its own.
_Pairs = Dict[Tuple[int, int], Tuple[Any, Any]]


def difference(
    module: nn.Module, like: nn.Module, pairs: Optional[_Pairs] = None
) -> str:
    """What one network has that another of the same weights has not.

    Attributes of all modules are looked into, however deep. What cannot be
    looked into, such as a lock, is alike only if both have the same one.

    Args:
        module (nn.Module): A network.
        like (nn.Module): One with modules and weights of the same names, also
            without memory.
        pairs (dict, optional): Of an outer comparison. Defaults to None.

    Returns:
        str: Its name; '' if they are alike.
    """
    own, other = dict(module.named_modules()), dict(like.named_modules())
    if own.keys() != other.keys() or _tied(module) != _tied(like):
        return 'layers that are used twice'
    # Modules may know each other.
    pairs = {} if pairs is None else pairs
    for key, part in own.items():
        pairs[id(part), id(other[key])] = (part, other[key])
    for key, part in own.items():
        if _kind(part) is not _kind(other[key]):
            return f'the class of {key or "it"}'
        mine, its = _attributes(part), _attributes(other[key])
        for name in sorted({*mine, *its}):
            if (
                name not in mine
                or name not in its
                or not _are_alike(mine[name], its[name], pairs)
            ):
                return f'{key}.{name}'.lstrip('.')
    return ''


def unlike_training(module: nn.Module, like: nn.Module) -> str:
    """What is trained in one of two networks that are alike, but for that.

    Returns:
        str: ``requires_grad`` of a weight; '' if there is none.
    """
    other = dict(like.named_parameters())
    for key, value in module.named_parameters():
        if value.requires_grad != other[key].requires_grad:
            return f'requires_grad of {key}'
    return ''


def loose_tensors(module: nn.Module) -> Dict[str, torch.Tensor]:
    """Tensors of a network that no state dict has, by their names."""
    found = {}
    for key, part in module.named_modules():
        buffers = {
            k: part._buffers[k] for k in part._non_persistent_buffers_set
        }
        for name, value in {**vars(part), **buffers}.items():
            if torch.is_tensor(value):
                found[f'{key}.{name}'] = value.detach()
    return found


def _tied(module: nn.Module) -> Set[str]:
    """Names of weights, each one once; what was pruned has another order."""
    return {key for key, _ in module.named_parameters()}


def _kind(part: nn.Module) -> type:
    # Each layer with a parametrization gets a class of its own.
    return type(part).__base__ if is_parametrized(part) else type(part)


def _attributes(part: nn.Module) -> Dict[str, Any]:
    """All about one module but its modules and the values of its weights."""
    found: Dict[str, Any] = {}
    for key, value in vars(part).items():
        if key in ('training', '_modules', *_ORIGIN):
            continue
        if key == 'module' and value is part:
            continue  # a wrapper was taken off
        if key == 'init_cfg' and isinstance(part, BaseModule):
            continue  # how its weights were drawn
        if key.endswith('_hooks'):  # numbered as they came, in any network
            value = list(value.values())
        elif key.endswith(('_hooks_with_kwargs', '_hooks_always_called')):
            value = len(value)
        found[key] = value
    return found


def _are_alike(one: Any, other: Any, pairs: _Pairs) -> bool:
    """Whether two values mean the same.

    Args:
        one (object): A value.
        other (object): Another.
        pairs (dict): What is alike by assumption; gets what is compared here,
            since things may hold each other.
    """
    if one is other or (id(one), id(other)) in pairs:
        return True
    pairs[id(one), id(other)] = (one, other)
    if isinstance(one, nn.Module) and isinstance(other, nn.Module):
        return not difference(one, other, pairs)
    if type(one) is not type(other):
        return False
    if isinstance(one, _PLAIN):
        return repr(one) == repr(other)
    if isinstance(one, torch.Tensor):
        # Of weights, that is told on its own.
        is_weight = isinstance(one, nn.Parameter)
        mine, its = (
            (each.shape, each.dtype, each.requires_grad or is_weight)
            for each in (one, other)
        )
        return mine == its
    if isinstance(one, np.ndarray):
        return (one.shape, one.dtype, one.tobytes()) == (
            *(other.shape, other.dtype, other.tobytes()),
        )
    if isinstance(one, torch.device):  # where it is, it can be moved
        return True
    if isinstance(one, (set, frozenset)):
        return one == other
    parts, others = list(_parts(one)), list(_parts(other))
    return (
        bool(parts)
        and len(parts) == len(others)
        and all(_are_alike(a, b, pairs) for a, b in zip(parts, others))
    )


def _parts(value: Any) -> Iterator[Any]:
    """What a value is made of; nothing if that cannot be looked into."""
    if isinstance(value, FunctionType):
        yield from (id(value.__code__), value.__defaults__)
        yield from (value.__kwdefaults__, value.__closure__)
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, CellType):
        yield from [value.cell_contents]
    elif isinstance(value, dict):
        keys = sorted(value, key=repr)
        yield from (keys, [value[key] for key in keys])
    elif isinstance(value, (list, tuple)):
        yield len(value)
        yield from value
    elif isinstance(value, partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, ref):
        yield value()
    if hasattr(value, '__dict__'):
        found = vars(value)
        yield sorted(found)
        yield from (found[key] for key in sorted(found))
    for cls in type(value).__mro__:
        slots = vars(cls).get('__slots__', ())
        for key in [slots] if isinstance(slots, str) else slots:
            if not key.startswith('__') and hasattr(value, key):
                yield from (key, getattr(value, key))

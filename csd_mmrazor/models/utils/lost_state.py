# Copyright (c) csd_mmrazor developers. All rights reserved.
from copy import deepcopy
from typing import Any, Collection, Dict, Set

import torch
import torch.nn as nn
from torch import Tensor

from .modes import as_in_training, evaluating
from .outputs import logits_of

# Of logits that are to be the same, relative to the largest.
_TOLERANCE = 1e-4
# What each module has.
_OWN = {*vars(nn.Module())}


def check_kept_state(model: nn.Module, like: Tensor) -> None:
    """Check that state dicts have what training changes in a student.

    Buffers with ``persistent=False`` are in none, and neither are attributes.
    Those that are computed anew whenever they are used, as caches are, do no
    harm.

    Args:
        model (nn.Module): A classifier of mmpretrain's kind; it stays as it
            is.
        like (Tensor): A few images, (N, C, H, W), of which only shape and
            device count.

    Raises:
        ValueError: If a pass in train mode changes one of them, and the
            network computes something else with it than without.
    """
    # Images that are all 0 might change nothing, and networks that normalise
    # inside may check that theirs are in 0..1.
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(like.shape, generator=generator).to(like)
    _check_buffers(model, inputs)
    _check_attributes(model, inputs)


def plain_attributes(module: Any) -> Dict[str, Any]:
    """Copies of what state dicts leave out of a module and its parts.

    Args:
        module (nn.Module | object): Losses and the like; a pretext task.

    Returns:
        dict[str, object]: Tensors, numbers, and lists and dicts of such, by
        the names that they have in the module; also buffers with
        ``persistent=False``.
    """
    parts = [('', module)]
    if isinstance(module, nn.Module):
        parts = [*module.named_modules()]
    found = {}
    for name, part in parts:
        values = {k: v for k, v in vars(part).items() if k not in _OWN}
        for key in getattr(part, '_non_persistent_buffers_set', ()):
            values[key] = part._buffers[key]
        for key, value in values.items():
            if _is_plain(value):
                found[f'{name}.{key}'.lstrip('.')] = deepcopy(value)
    return found


def changed_attributes(
    before: Dict[str, Any], now: Dict[str, Any]
) -> Set[str]:
    """Names of those that :func:`plain_attributes` found, and changed."""
    return {
        name
        for name in {*before} & {*now}
        if not _is_same(before[name], now[name])
    }


def about_lost(names: Collection[str]) -> str:
    """What to tell of attributes that change again and again."""
    return (
        'Each step or round changes these attributes, which checkpoints do '
        f'not save, so a resumed run starts without: '
        f'{", ".join(sorted(names))}. If later steps depend on one, make it a '
        'tensor, register it by register_buffer() in __init__(), and change '
        'it in place.'
    )


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, Tensor):
        return value.is_leaf or not value.requires_grad  # can be copied
    return isinstance(value, (bool, int, float))


def _check_buffers(model: nn.Module, inputs: Tensor) -> None:
    before = {
        (part, key): value.clone()
        for part in model.modules()
        for key in part._non_persistent_buffers_set
        if (value := part._buffers.get(key)) is not None
    }
    if not before:
        return
    names = {part: name for name, part in model.named_modules()}
    with as_in_training(model):
        model(inputs, mode='tensor')
        changed = [
            (part, key)
            for (part, key), value in before.items()
            if (found := part._buffers[key]) is None
            or not torch.equal(found, value)
        ]
        with evaluating(model):
            trained = logits_of(model(inputs, mode='tensor')).clone()
            for part, key in changed:
                part._buffers[key] = before[part, key].clone()
            restored = logits_of(model(inputs, mode='tensor'))
    if changed and _differ(trained, restored):
        listed = ', '.join(
            f'{names[part]}.{key}'.lstrip('.') for part, key in changed
        )
        raise ValueError(
            f'student ({type(model).__name__}) would lose what training '
            f'changes in {listed}, since state dicts, and with them '
            'checkpoints, do not have buffers that are registered with '
            'persistent=False: leave persistent=False out.'
        )


def _check_attributes(model: nn.Module, inputs: Tensor) -> None:
    try:
        trained, restored = deepcopy(model), deepcopy(model)
    except Exception:  # whatever its attributes make of it
        return
    with as_in_training(trained):
        trained(inputs, mode='tensor')
        with evaluating(trained, restored):
            restored.load_state_dict(trained.state_dict())
            expected, found = (
                logits_of(each(inputs, mode='tensor'))
                for each in (trained, restored)
            )
    changed = [
        f'{name}.{key}'.lstrip('.')
        for (name, part), before in zip(
            trained.named_modules(), model.modules()
        )
        for key in sorted({*vars(part)} - _OWN)
        if vars(part)[key] is not part
        and not _is_same(vars(part)[key], vars(before).get(key))
    ]
    if changed and _differ(expected, found):
        raise ValueError(
            f'student ({type(model).__name__}) would lose what training '
            f'changes in {", ".join(changed)}, since state dicts, and with '
            'them checkpoints, do not have plain attributes: make it a '
            'tensor, register it by register_buffer() in __init__(), and '
            'change it in place.'
        )


def _differ(one: Tensor, other: Tensor) -> bool:
    error = (one - other).abs().max()
    return bool(error > _TOLERANCE * one.abs().max())


def _is_same(one: Any, other: Any) -> bool:
    """Whether values are equal, as far as they can be compared."""
    if isinstance(one, nn.Module):  # that is hidden from its owner
        one, other = (
            dict(each.state_dict()) if isinstance(each, nn.Module) else each
            for each in (one, other)
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        one, other = [*one.items()], [*other.items()]
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return not isinstance(one, (bool, int, float, str)) or one == other

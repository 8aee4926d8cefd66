# Copyright (c) csd_mmrazor developers. All rights reserved.
import dataclasses
from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor


def logits_of(output: Any) -> Tensor:
    """The logits in what a classifier returns.

    A tensor is taken as it is; of a dict, a dataclass or a named tuple, what
    is called ``logits``; of any other tuple or list, the first. So are
    networks with auxiliary heads understood, and model outputs as
    transformers has them. Auxiliary outputs are left aside.

    Args:
        output (Any): What the network returned.

    Returns:
        Tensor: (N, K).

    Raises:
        TypeError: If there are none; says what was returned.
    """
    found = output
    if isinstance(found, Mapping):
        found = found.get('logits')
    elif hasattr(found, 'logits'):
        found = found.logits
    elif isinstance(found, (list, tuple)):
        found = found[0] if found else None
        if not torch.is_tensor(found) and found is not None:
            return logits_of(found)
    if torch.is_tensor(found) and found.ndim == 2:
        return found
    raise TypeError(
        'a classifier should return its logits, (N, K), or have them as '
        '"logits" in a dict, dataclass or named tuple, or first in a tuple '
        f'or list, but it returned {_described(output)}.'
    )


def full_precision(record: Any) -> Any:
    """Tensors of half precision in float32; other things as they are.

    Args:
        record (Any): A tensor, or tuples (named or not), lists, dicts, model
            outputs and dataclasses with tensors in them.

    Returns:
        Any: Of the same type. What was given is not changed.
    """
    if torch.is_tensor(record):
        if not record.is_floating_point():
            return record
        return record.to(torch.promote_types(record.dtype, torch.float32))
    if isinstance(record, (list, tuple)):
        values = [full_precision(value) for value in record]
        # A named tuple takes its values one by one.
        named = hasattr(record, '_fields')
        return type(record)(*values) if named else type(record)(values)
    if isinstance(record, Mapping):
        copied = copy(record)
        for key, value in record.items():
            copied[key] = full_precision(value)
        return copied
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        copied = copy(record)
        for field in dataclasses.fields(record):
            value = full_precision(getattr(record, field.name))
            # Of one that is frozen as well.
            object.__setattr__(copied, field.name, value)
        return copied
    return record


def _described(output: Any) -> str:
    """The type of a network's output, and what is in it."""
    name = type(output).__name__
    if torch.is_tensor(output):
        return f'a {name} of shape {tuple(output.shape)}'
    if isinstance(output, Mapping):
        return f'a {name} with {", ".join(map(str, output)) or "nothing"}'
    if isinstance(output, (list, tuple)):
        inner = ', '.join(
            str(tuple(v.shape)) if torch.is_tensor(v) else type(v).__name__
            for v in output
        )
        return f'a {name} of {inner or "nothing"}'
    return f'a {name}'

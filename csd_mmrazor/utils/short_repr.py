# Copyright (c) csd_mmrazor developers. All rights reserved.
from dataclasses import fields, is_dataclass
from typing import Any


def short_repr(self: Any) -> str:
    """What a class may have as its ``__repr__``: numbers of four digits.

    Args:
        self (object): A dataclass or a named tuple.
    """
    if is_dataclass(self):
        names = [each.name for each in fields(self) if each.repr]
    else:
        names = self._fields
    shown = []
    for name in names:
        value = getattr(self, name)
        if isinstance(value, float):
            value = float(f'{value:.4g}')
        shown.append(f'{name}={value!r}')
    return f'{type(self).__name__}({", ".join(shown)})'

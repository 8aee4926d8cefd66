# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any


def part_name(part: Any) -> str:
    """What a part of a config is, without its scope."""
    kind = part.get('type') if isinstance(part, dict) else None
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What of a config others may read."""

from pathlib import Path
from typing import Any


def public(value: Any) -> Any:
    """Files and folders by name, not where they are on this machine.

    Args:
        value: Of a config: containers, texts, numbers.

    Returns:
        The same, with the names alone of paths that are absolute, of a home,
        or lead out of the current folder, and of Python files.
    """
    if isinstance(value, dict):
        return {key: public(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(each) for each in value]
    if not isinstance(value, str):
        return value
    file, colon, name = value.rpartition(':')
    if file.endswith('.py'):  # FILE.py:Name
        return f'{Path(file).name}{colon}{name}'
    path = Path(value)
    is_private = path.is_absolute() or value[:1] == '~' or '..' in path.parts
    return path.name if is_private else value

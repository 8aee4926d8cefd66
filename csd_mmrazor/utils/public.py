# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What others may read: nothing of where things are on this machine.

Nor what opens a URL: a user and a password, and the query, as of links that
are signed.
"""

import os
import re
from pathlib import Path, PureWindowsPath
from typing import Any, Union

# What of a sentence is a folder: anything in quotation marks, or else what is
# before a second name.
_QUOTED = re.compile(
    r'(["\'])(?:file://)?~?/(?:[^"\'\n]*/)?(?=[^"\'/\n]+/?\1)'
)
_PART = r'[^\s/"\'`<>|:;,()\[\]{}]+'
_BARE = re.compile(
    rf'(?<![\w.~:/\\-])(?:file://)?(?:~[\w.-]*)?/(?:{_PART}/)+(?={_PART})'
)
# Of Windows, also as repr() has them.
_OF_WINDOWS = re.compile(
    r'(?:\b[A-Za-z]:|\\{2,4}[\w.-]+)\\{1,2}(?:[^\\/:*?"<>|\s\']+\\{1,2})*'
    r'(?=[^\\/:*?"<>|\s\'])'
)

_URL = re.compile(
    r'([a-z][\w+.-]*://)(?:[^/?#\s"\'<>]*@)?([^?#\s"\'<>]*)[^\s"\'<>]*', re.I
)


def public(value: Any) -> Any:
    """Files and folders by name, not where they are on this machine.

    Args:
        value: Of a config: containers, texts, numbers.

    Returns:
        The same, with the names alone of paths that are absolute, of a home,
        or lead out of the current folder, and of Python files, and URLs
        without what opens them.
    """
    if isinstance(value, dict):
        return {key: public(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        kind = tuple if isinstance(value, tuple) else list
        return kind(map(public, value))
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        return value
    file, colon, name = value.rpartition(':')
    if file.endswith('.py'):  # FILE.py:Name
        return f'{_name_of(file)}{colon}{name}'
    path = Path(value)
    is_private = path.is_absolute() or value[:1] == '~' or '..' in path.parts
    if is_private or PureWindowsPath(value).is_absolute():
        return _name_of(value)
    return public_text(value)


def public_name(path: Union[str, Path]) -> str:
    """The name of a file, or of what a URL is of.

    Args:
        path (str | Path): Path or URL.
    """
    return Path(_URL.sub(r'\1\2', str(path))).name


def _name_of(path: str) -> str:
    """The last part of a path of this system, or of Windows."""
    kind = PureWindowsPath if PureWindowsPath(path).is_absolute() else Path
    return kind(path).name


def public_text(text: str) -> str:
    """The same of a sentence, of which paths are a part.

    Args:
        text (str): A message, such as of a log.

    Returns:
        str: With the names alone of files and folders that it names
        absolutely or by a home, and URLs without what opens them.
    """
    text = _URL.sub(r'\1\2', text)
    return _OF_WINDOWS.sub('', _BARE.sub('', _QUOTED.sub(r'\1', text)))

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What an error says, also one that was raised without a word."""

import ast
import linecache
import reprlib
from pathlib import Path
from types import FrameType
from typing import List, Optional

# Letters of a condition, and values that are named.
_MOST_LETTERS, _MOST_VALUES = 200, 5
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_CONTAINERS = (list, tuple, dict, set, frozenset)


def error_text(error: BaseException) -> str:
    """The message of an error.

    Libraries check their arguments with ``assert`` and say nothing. Then it
    is the condition, with file, line and function, and the values in it.

    Args:
        error (BaseException): The error.

    Returns:
        str: Of one line, if it has no message of its own.
    """
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # of which str(error) is the repr
    return str(error) if str(error).strip() else _place(error)


def named_error(error: BaseException) -> str:
    """The kind of an error, and its :func:`error_text`."""
    return f'{type(error).__name__}: {error_text(error)}'


def _place(error: BaseException) -> str:
    """Where an error was raised, and of what values."""
    trace = error.__traceback__
    if trace is None:
        return ''
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame, line = trace.tb_frame, trace.tb_lineno
    file = frame.f_code.co_filename
    name = frame.f_code.co_name
    if 'self' in frame.f_locals:
        name = f'{type(frame.f_locals["self"]).__name__}.{name}'
    statement = _statement(file, line)
    text = linecache.getline(file, line).strip()
    if isinstance(statement, ast.Assert):
        text = f'assert {ast.unparse(statement.test)}'
    elif statement is not None:
        text = ast.unparse(statement)
    text = ' '.join(text.split())
    if len(text) > _MOST_LETTERS:
        text = f'{text[:_MOST_LETTERS]}...'
    place = f'{"/".join(Path(file).parts[-3:])}, line {line}, in {name}()'
    values = _values(statement, frame)
    return f'{text} ({place})' + (f' with {", ".join(values)}' * bool(values))


def _statement(file: str, line: int) -> Optional[ast.stmt]:
    """The smallest statement that a line is of."""
    try:
        tree = ast.parse(''.join(linecache.getlines(file)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = None
    for node in ast.walk(tree):  # from outer to inner ones
        if isinstance(node, ast.stmt) and (
            node.lineno <= line <= (node.end_lineno or node.lineno)
        ):
            found = node
    return found if isinstance(found, (ast.Assert, ast.Raise)) else None


def _values(statement: Optional[ast.stmt], frame: FrameType) -> List[str]:
    """What the names in a condition stood for."""
    if not isinstance(statement, ast.Assert):
        return []
    values = {}
    for node in ast.walk(statement.test):
        if isinstance(node, ast.Name) and node.id in frame.f_locals:
            if node.id != 'self':
                values[node.id] = frame.f_locals[node.id]
        elif isinstance(node, ast.Attribute) and (
            isinstance(node.value, ast.Name) and node.value.id == 'self'
        ):
            # Nothing is run for it, such as a property.
            own = getattr(frame.f_locals.get('self'), '__dict__', {})
            if node.attr in own:
                values[f'self.{node.attr}'] = own[node.attr]
    shown = [f'{name}={_brief(value)}' for name, value in values.items()]
    return shown[:_MOST_VALUES]


def _brief(value: object) -> str:
    if type(value) in _PLAIN or isinstance(value, _CONTAINERS):
        try:
            return reprlib.repr(value)
        except Exception:  # of what is in a container
            pass
    shape = getattr(value, 'shape', None)
    name = type(value).__name__
    is_size = isinstance(shape, tuple)
    return f'<{name} of shape {tuple(shape)}>' if is_size else f'<{name}>'

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What an error says, also one that was raised without a word."""

import ast
import inspect
import linecache
import re
import reprlib
from pathlib import Path
from types import FrameType
from typing import Any, Dict, List, Optional

from .suggestions import did_you_mean

# Letters of a condition, and values that are named.
_MOST_LETTERS, _MOST_VALUES = 200, 5
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_UNEXPECTED = re.compile(
    r"([\w.<>]+)\(\) got an unexpected keyword argument '(\w+)'"
)
_COLLECTING = (
    inspect.Parameter.VAR_POSITIONAL,
    inspect.Parameter.VAR_KEYWORD,
)
_CONTAINERS = (list, tuple, dict, set, frozenset)


def error_text(error: BaseException) -> str:
    """The message of an error.

    Libraries check their arguments with ``assert`` and say nothing. Then it
    is the condition, with file, line and function, and the values in it. A
    name in a config that is no argument of what it builds is told with those
    that are.

    Args:
        error (BaseException): The error.

    Returns:
        str: Of one line, if it has no message of its own.
    """
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # of which str(error) is the repr
    if isinstance(error, TypeError):
        text = _about_argument(error)
        if text:
            return text
    return str(error) if str(error).strip() else _place(error)


def named_error(error: BaseException) -> str:
    """The kind of an error, and its :func:`error_text`."""
    return f'{type(error).__name__}: {error_text(error)}'


def _about_argument(error: TypeError) -> str:
    """What a misspelt argument of a config might mean, if that is it."""
    match = _UNEXPECTED.search(str(error))
    if match is None:
        return ''
    built, trace = None, error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == 'build_from_cfg':
            values = frame.f_locals
            if match[2] in (values.get('args') or {}):
                built = values.get('obj_cls')
        trace = trace.tb_next
    known = _arguments_of(built)
    if not inspect.isclass(built) or not known or match[2] in known:
        return ''
    # What it passes arguments on to says so itself.
    own = [f'{each.__qualname__}.__init__' for each in built.__mro__]
    if match[1] not in (*own, '__init__'):  # the latter in Python 3.9
        return ''
    return (
        f'{built.__name__} has no argument {match[2]!r}.'
        f'{did_you_mean(match[2], known)} It has {", ".join(known[:40])}.'
    )


def _arguments_of(built: Any) -> List[str]:
    """Names that a class takes, or passes on to those it is derived from."""
    found: Dict[str, None] = {}
    for each in getattr(built, '__mro__', ()):
        if '__init__' not in vars(each) or each is object:
            continue
        _, *parameters = inspect.signature(each.__init__).parameters.values()
        kinds = {parameter.kind for parameter in parameters}
        found.update(
            (parameter.name, None)
            for parameter in parameters
            if parameter.kind not in _COLLECTING
        )
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break
    return [*found]


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

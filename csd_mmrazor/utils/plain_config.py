# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Configs out of files, read without running them."""

import ast
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

# A config is some ten thousand letters; parsing takes a hundred times a
# text's size.
_MOST_LETTERS = 1_000_000
# How a config begins that distill() wrote.
BY_DISTILL = '# What distill() made of its arguments.'
_NUMBERS = dict(inf=float('inf'), nan=float('nan'))


def parse_config(text: str) -> Dict[str, Any]:
    """Read the text that MMEngine writes of a config, as plain data.

    Such a text is Python, and a checkpoint or a work dir may come from
    anywhere. Nothing in it is run: it may only give names to numbers, texts,
    lists, tuples, sets and dicts, ``dict(...)`` included.

    Args:
        text (str): As of ``Config.pretty_text``.

    Returns:
        dict[str, Any]: What it says.

    Raises:
        ValueError: If it is anything else; says where.
    """
    # Before Python 3.11.4, null bytes are no SyntaxError.
    is_text = isinstance(text, str) and '\0' not in text
    if not is_text or len(text) > _MOST_LETTERS:
        raise ValueError('it is not the text of a config')
    try:
        found = {}
        for node in ast.parse(text).body:
            if not (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                raise _not_plain(node)
            if node.targets[0].id == '_base_':
                raise ValueError(
                    'it is not whole: it inherits others (_base_), which '
                    'would have to be run'
                )
            found[node.targets[0].id] = _value(node.value)
        return found
    except (SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(
            f'it is not the text of a config ({type(error).__name__})'
        ) from error


def config_of_checkpoint(meta: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """The config of the run that wrote a checkpoint, as plain data.

    Args:
        meta (dict[str, Any]): The checkpoint's ``meta``.

    Returns:
        dict[str, Any] | None: None if it has none, or one that is not plain
        data; its text is never run.
    """
    try:
        return parse_config(meta['cfg'])
    except (KeyError, TypeError, ValueError):
        return None


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in _NUMBERS:
        return _NUMBERS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand)
        if type(value) in (int, float):
            return -value
    elif isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    elif isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    elif isinstance(node, ast.Set):
        return {_value(item) for item in node.elts}
    elif isinstance(node, ast.Dict) and None not in node.keys:
        return {
            _value(key): _value(value)
            for key, value in zip(node.keys, node.values)
        }
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'dict'
    ):
        return _dict(node)
    raise _not_plain(node)


def _dict(node: ast.Call) -> Dict[str, Any]:
    """``dict(a=1)``, or ``dict({'a.b': 1})`` of names with dots."""
    found = {}
    for item in node.args[:1]:
        if not isinstance(item, ast.Dict) or len(node.args) > 1:
            raise _not_plain(node)
        found.update(_value(item))
    for keyword in node.keywords:
        if keyword.arg is None:
            raise _not_plain(node)
        found[keyword.arg] = _value(keyword.value)
    return found


def _not_plain(node: ast.AST) -> ValueError:
    return ValueError(
        f'line {node.lineno} is not a name for numbers, texts, lists or '
        'dicts, and nothing out of such a file is run'
    )


def configs_of_starts(work_dir: Union[str, Path]) -> List[Path]:
    """The configs of each start of a run, that of the last start first.

    Their folders are named after the time of the start. Times of files say
    nothing on network disks, or once a work dir was copied.

    Args:
        work_dir (str | Path): Of the run.
    """
    found = Path(work_dir).glob('*/vis_data/config.py')
    starts = [
        path
        for path in found
        if re.fullmatch(r'\d{8}_\d{6}', path.parent.parent.name)
    ]
    return sorted(starts, reverse=True)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Options of the command line, which change a config."""

import argparse
import os.path as osp
from typing import Any, Iterator, Optional, Sequence

from mmengine.config import Config, DictAction

from ..utils.sections import SECTIONS
from ..utils.suggestions import closest, some_of

# Arguments that name a file or folder.
_FILES = (
    *('load_from', 'checkpoint', 'init_bank', 'data_root', 'data_prefix'),
    *('ann_file', 'out', 'work_dir'),
)


class Options(argparse.Action):
    """Reads ``key=value`` pairs into a dict; their texts into another."""

    def __call__(self, parser, namespace, values, option_string=None):
        options = dict(getattr(namespace, self.dest, None) or {})
        texts = dict(getattr(namespace, f'{self.dest}_texts', {}))
        for word in values:
            key, is_pair, value = word.partition('=')
            if not is_pair or not all(key.strip().split('.')):
                parser.error(
                    f'--cfg-options takes key=value pairs, but got "{word}"'
                )
            try:
                options[key.strip()] = parse_value(value)
                texts[key.strip()] = value.strip()
            except ValueError as error:
                parser.error(f'--cfg-options {word}: {error}')
        setattr(namespace, self.dest, options)
        setattr(namespace, f'{self.dest}_texts', texts)


class Listed(list):
    """A list that may be a text with commas, as file names have them."""

    text: str


def parse_value(text: str) -> Any:
    """Read the value of an option.

    As MMEngine's ``DictAction``, which removes all spaces and takes every
    comma apart, but texts keep both.

    Args:
        text (str): ``None``, ``True`` or ``False``, a number, ``[a,b]``,
            ``(a,b)`` or ``a,b`` of such, or else a text. What is in quotation
            marks is a text, or a list if that is in brackets.

    Returns:
        object: The value.

    Raises:
        ValueError: If brackets are not closed, or it is a dict.
    """
    text = text.strip()
    is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in '\'"'
    # 'a','b' is a list of two.
    is_quoted = is_quoted and len([*_parts(text)]) == 1
    if is_quoted:
        text = text[1:-1]
    if not is_quoted and (
        text.startswith('dict(') or text[:1] + text[-1:] == '{}'
    ):
        raise ValueError(
            'a dict cannot be given here. Set its keys one by one '
            '(a.b.key=value), or write it into a config with _base_=CONFIG'
        )
    inner = text[1:-1]
    if text[:1] + text[-1:] in ('[]', '()') and _is_balanced(inner):
        values = [parse_value(part) for part in _parts(inner)]
        return tuple(values) if text[0] == '(' else values
    if text[:1] in ('[', '(') and not _is_balanced(text):
        raise ValueError('a bracket is not closed')
    parts = [] if is_quoted else [*_parts(text)]
    if ',' in text and parts not in ([], [text]):
        listed = Listed(map(parse_value, parts))
        listed.text = text
        return listed
    return text if is_quoted else DictAction._parse_int_float_bool(text)


def is_meant_as_text(
    option: str, value: Any, present: Any, text: Optional[str]
) -> bool:
    """Whether an option that reads as something else is a file's name.

    A checkpoint may be called ``1e3`` or ``None``.

    Args:
        option (str): Dotted name.
        value (object): As :func:`parse_value` read it.
        present (object): What the config has there.
        text (str, optional): As it was written.

    Returns:
        bool: True for a number or boolean where the config has a text or a
        name of a file belongs, and for ``None`` if there is such a file.
    """
    if text is None or isinstance(value, (str, list, tuple)):
        return False
    name = option.split('.')[-1]
    is_file = name in _FILES or name.endswith(('_ckpt', '_path', '_dir'))
    is_file = is_file and not name.startswith('max_')
    if value is None:
        return is_file and osp.exists(text)
    return is_file or isinstance(present, str)


def _is_balanced(text: str) -> bool:
    depth = 0
    for letter in text:
        depth += (letter in '[(') - (letter in '])')
        if depth < 0:
            return False
    return depth == 0


def _parts(text: str) -> Iterator[str]:
    """Take apart at the commas outside brackets and quotation marks."""
    part, quote = '', ''
    for letter in text:
        if letter == ',' and not quote and _is_balanced(part):
            yield part
            part = ''
            continue
        if letter == quote:
            quote = ''
        elif letter in '\'"' and not part.strip(' [('):
            quote = letter
        part += letter
    if part.strip():
        yield part


def check_option(cfg: Config, option: str) -> Any:
    """Check that an option of the command line changes something.

    MMEngine takes any name. A new argument of a part is left to the part,
    which knows its arguments.

    Args:
        cfg (Config): The config.
        option (str): Dotted name.

    Returns:
        object: What the config has there, or None.

    Raises:
        ValueError: If a section of that name does not exist, or it is a
            variable of the config file; says what might be meant. If a name
            is of something that has no names in it.
    """
    node, names = cfg._cfg_dict, option.split('.')
    for depth, name in enumerate(names):
        above = '.'.join(names[:depth])
        if isinstance(node, (list, tuple)):
            if not name.isdecimal() or int(name) >= len(node):
                raise ValueError(
                    f'--cfg-options: {option} would change nothing, since '
                    f'{above} is a list of {len(node)}: {above}.0 is its '
                    'first.'
                )
            node = node[int(name)]
            if depth == len(names) - 1:
                raise ValueError(
                    f'--cfg-options: {option} is one of a list, which can '
                    f'only be given as a whole: {above}=[...].'
                )
            continue
        if node is None:
            return None
        if not isinstance(node, dict):
            raise ValueError(
                f'--cfg-options: {above} is {node!r}, which has no {name}.'
            )
        is_new = name not in node
        known = [*node] if depth else [*SECTIONS]
        close = closest(name, known)
        is_section = depth == 0 and name in SECTIONS
        if (
            is_new
            and close
            and not is_section
            and (depth == 0 or depth < len(names) - 1)
        ):
            meant = [*names[:depth], close, *names[depth + 1 :]]
            hint = f'did you mean {".".join(meant)}?'
            if not _has_place(cfg._cfg_dict, meant):
                hint = f'it has {some_of(known)}.'
                hint = f'{above} of {hint}' if depth else hint
            raise ValueError(
                f'--cfg-options: the config has no '
                f'{".".join(names[: depth + 1])}; {hint}'
            )
        if depth == 0 and name not in SECTIONS:
            places = [p for p in _paths(node) if p.endswith(f'.{option}')]
            hint = f' Set {" or ".join(places)}.' if places else ''
            raise ValueError(
                f'--cfg-options: {option} would change nothing. '
                + (
                    'It is no section of a config.'
                    if is_new
                    else 'It is a variable, which counts only while the '
                    'config file is read.'
                )
                + hint
            )
        if is_new:
            return None
        node = node[name]
    return node


def _has_place(node: Any, names: Sequence[str]) -> bool:
    """Whether a config has what the last of the names would be in."""
    for name in names[:-1]:
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return isinstance(node, dict)


def _paths(node: Any, path: str = '') -> Iterator[str]:
    """The dotted names of all that is in the sections of a config."""
    for name, value in node.items():
        if path or name in SECTIONS:
            yield f'{path}{name}'
            if isinstance(value, dict):
                yield from _paths(value, f'{path}{name}.')

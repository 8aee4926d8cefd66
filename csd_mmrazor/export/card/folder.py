# Copyright (c) csd_mmrazor developers. All rights reserved.
"""All networks of a folder, in the one README that the Hub shows."""

import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from ...utils import read_object, write_file
from ...utils.control import in_markdown
from .layout import MARK, is_card_of

_START = '<!-- networks in this folder -->'
_HEAD = [
    '| file | network | kB | measured | card |',
    '| --- | --- | --- | --- | --- |',
]


_TITLE = '## Networks in this folder'


def list_networks(folder: Path) -> None:
    """Add a table of all networks to the card ``README.md``.

    It has a row for each where there are several, and is left out, or taken
    away, where there are not. A README of something else stays as it is.

    Args:
        folder (Path): Where networks were exported or quantized.
    """
    readme = folder / 'README.md'
    text = _read(readme)
    if MARK.partition('{}')[0] not in text:
        return
    card, _, rest = text.partition(_START)
    rows, lines = _rows(folder), [card.rstrip()]
    below = _below(rest)
    if len(rows) > 1:
        lines += ['', _START, '', _TITLE, '', *_HEAD, *rows]
    elif below:
        lines += ['', _START]
    lines += ['', below] if below else []
    new = '\n'.join([*lines, ''])
    if new != text:
        write_file(readme, new.encode())


def kept_of(card: Path) -> str:
    """What somebody wrote below the table of networks of a card.

    Args:
        card (Path): What will be written anew.

    Returns:
        str: To be added to the new one; empty if there is nothing.
    """
    below = _below(_read(card).partition(_START)[2])
    return f'\n{_START}\n\n{below}\n' if below else ''


def card_meanwhile(card: Path, weights: Path) -> str:
    """What a card says while its network is replaced by another one.

    Args:
        card (Path): What is there.
        weights (Path): The file of the network.
    """
    return (
        f'{MARK.format(weights.name)}\n\n# {weights.name}\n\n'
        f'It was being replaced.\n{kept_of(card)}'
    )


def _read(path: Path) -> str:
    """A text; empty if there is none."""
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, ValueError):
        return ''


def _below(rest: str) -> str:
    """What follows a table."""
    return re.sub(rf'\A\s*{_TITLE}\s*(\|.*(\n|\Z))*', '', rest).strip()


def _rows(folder: Path) -> List[str]:
    rows = []
    for file, told in _described(folder):
        cards = [
            path
            for path in sorted(folder.glob('*.md'))
            if path.is_file() and is_card_of(path, file)
        ]
        cells = (
            f'`{file.name}`',
            in_markdown(_network(told)).replace('|', '\\|'),
            f'{file.stat().st_size / 1000:.0f}',
            _measured(told),
            f'[{cards[0].name}]({cards[0].name})' if cards else '',
        )
        rows.append(f'| {" | ".join(cells)} |')
    return rows


def _described(folder: Path) -> Iterator[Tuple[Path, Dict[str, Any]]]:
    """Networks with what is told of them."""
    for path in sorted(folder.glob('*.json')):
        told = read_object(path)
        for key, suffix in (
            ('quantized_by', '.onnx'),
            ('exported_by', '.pth'),
        ):
            file = path.with_suffix(suffix)
            is_whole = key in told and 'incomplete' not in told
            if is_whole and file.is_file():
                yield file, told


def _network(told: Dict[str, Any]) -> str:
    if 'quantized_by' in told:
        return f'{told.get("model")}, {told.get("bits")}-bit weights'
    return str(told.get('network')).rpartition('.')[2]


def _measured(told: Dict[str, Any]) -> str:
    """What an accuracy is known by, in percent."""
    found = []
    if isinstance(told.get('top1'), (int, float)):
        found.append(f'top-1 {told["top1"]:.2f} %')
    if isinstance(told.get('agreement'), (int, float)):
        found.append(
            f'same class as before on {told["agreement"]:.1f} % of '
            f'{told.get("compared_images")} images'
        )
    return '; '.join(found)

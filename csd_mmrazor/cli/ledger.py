# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Put the rows of all results of the repository into one file and one page.

    python tools/ledger.py [DOCS]

reads DOCS/results/*.csv and DOCS/comparison/*.csv, and writes DOCS/ledger.csv
and DOCS/ledger.md.
"""

import csv
import io
import json
import statistics
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from ..utils import write_file
from .errors import concise_errors
from .parser import Parser
from .processes import speak_utf8

_FOLDERS = ('results', 'comparison')
_COLUMNS = ('file', 'row', 'seed', 'top1', 'rest')
_ABOUT = """# Ledger

Every row of results/*.csv and comparison/*.csv beside these pages.
`python tools/ledger.py` writes this page and
[one file of all rows](ledger.csv), and a test keeps both up to date. These
pages say what a row is, how it was made and what it does not show:
[results](results.md), [comparison](comparison/README.md),
[quantization](quantize.md), [pruned networks](pruned.md). Top-1 is in percent
of real test images, and of a student after its last epoch unless the row names
another epoch or network.
"""


def ledger_rows(docs: Path) -> List[Dict[str, str]]:
    """The rows of all results.

    Args:
        docs (Path): The folder of the pages.

    Returns:
        list[dict[str, str]]: ``file``, below ``docs``; ``row``, the values of
        the columns before its seed, or of the first one; ``seed`` and
        ``top1``, empty where there is none; and ``rest``, all other columns
        as JSON.

    Raises:
        FileNotFoundError: If there are no results.
        ValueError: If a file is no table with one row of names.
    """
    paths = [
        path
        for name in _FOLDERS
        for path in sorted((docs / name).glob('*.csv'))
    ]
    if not paths:
        raise FileNotFoundError(
            f'{docs} has no results (results/*.csv): give the folder docs of '
            'the repository.'
        )
    rows = []
    for path in paths:
        names, table = _table(path)
        before = names[: names.index('seed')] if 'seed' in names else ()
        leading = list(before) or names[:1]
        for told in table:
            rows.append(
                dict(
                    file=path.relative_to(docs).as_posix(),
                    row=' '.join(filter(None, map(told.pop, leading))),
                    seed=told.pop('seed', ''),
                    top1=told.pop('top1', ''),
                    rest=json.dumps(told, ensure_ascii=False),
                )
            )
    return rows


def _table(path: Path) -> Tuple[List[str], List[Dict[str, str]]]:
    """Names of columns, and rows, of a file that people may have edited."""
    try:
        with path.open(newline='', encoding='utf-8') as file:
            reader = csv.DictReader(file)
            names, rows = list(reader.fieldnames or ()), list(reader)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f'{path} is no table in UTF-8: {error}. Write it by '
            'csv.DictWriter.'
        ) from error
    if '' in names or not names or len({*names}) < len(names):
        raise ValueError(
            f'The first row of {path} should have a name for each column, '
            f'each once, but has {names}: write it by csv.DictWriter.'
        )
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ValueError(
                f'Row {number} of {path} has other columns than its '
                f'{len(names)} names: write it by csv.DictWriter.'
            )
        if row.get('top1'):
            _check_percent(row['top1'], f'Row {number} of {path}')
    return names, rows


def _check_percent(text: str, where: str) -> None:
    try:
        is_percent = 0 <= float(text) <= 100
    except ValueError:
        is_percent = False
    if not is_percent:
        raise ValueError(
            f'{where} has top1={text!r}, which should be a number from 0 to '
            '100, or empty where there is none.'
        )


def ledger_page(rows: Sequence[Dict[str, str]]) -> str:
    """Those rows as a page: a table for each file, a line for each method.

    Args:
        rows (sequence[dict[str, str]]): Of :func:`ledger_rows`.
    """
    found: Dict[str, Dict[str, List[str]]] = {}
    for row in rows:
        lines = found.setdefault(row['file'], {})
        lines.setdefault(row['row'], []).append(row['top1'])
    parts = [_ABOUT]
    for file, lines in found.items():
        parts.append(
            f'\n## {file}\n\n| row | runs | top-1, mean | lowest | highest |\n'
            '| --- | --- | --- | --- | --- |\n'
        )
        for name, values in lines.items():
            cells = [name.replace('|', '\\|'), str(len(values))]
            numbers = [float(value) for value in values if value]
            if numbers:
                cells += [
                    f'{each:.2f}'
                    for each in (
                        statistics.mean(numbers),
                        min(numbers),
                        max(numbers),
                    )
                ]
            parts.append(f'| {" | ".join([*cells, "", "", ""][:5])} |\n')
    return ''.join(parts)


def make_ledger(docs: Path) -> Tuple[str, str]:
    """What is in ``ledger.csv`` and in ``ledger.md``.

    Args:
        docs (Path): The folder of the pages.

    Raises:
        FileNotFoundError, ValueError: As of :func:`ledger_rows`.
    """
    rows = ledger_rows(docs)
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue(), ledger_page(rows)


def main() -> None:
    """Run the command line."""
    speak_utf8()
    parser = Parser(description='Put all results into one file and one page')
    parser.add_argument(
        'docs', nargs='?', default='docs', help='where the pages are'
    )
    with concise_errors():
        docs = Path(parser.parse_args().docs)
        for name, text in zip(('ledger.csv', 'ledger.md'), make_ledger(docs)):
            write_file(docs / name, text.encode())
            print(f'Written: {docs / name}')

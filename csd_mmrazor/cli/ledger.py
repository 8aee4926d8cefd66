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

Every run that these pages report, from the CSV files beside them.
`python tools/ledger.py` writes this page and
[one file of all rows](ledger.csv), and a test keeps both up to date. These
pages say what a row is, how it was made and what it does not show:
[results](results.md), [comparison](comparison/README.md),
[quantization](quantize.md), [pruned networks](pruned.md). Top-1 is in percent
of real test images, and of a student after its last epoch unless the row names
another network.
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
        with path.open(newline='', encoding='utf-8') as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            before = names[: names.index('seed')] if 'seed' in names else ()
            leading = list(before) or names[:1]
            for number, row in enumerate(reader, 2):
                if None in row or None in row.values() or not names[0]:
                    raise ValueError(
                        f'Row {number} of {path} has other columns than its '
                        f'{len(names)} names: write it by csv.DictWriter.'
                    )
                told = dict(row)
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

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The rows of a comparison: read, grouped by method and tabulated."""

import csv
import statistics
from pathlib import Path
from typing import Dict, List, Tuple

from scipy import stats

COLUMNS = (
    'method',
    'budget',  # of operations, as the list names it
    'seed',
    'top1',  # after the last epoch
    'best',
    'seconds',  # of training, with all attempts if it was interrupted
    'cpu_seconds',  # of its processes; empty if not known of each attempt
    'machine',  # GPU or kind of processor; empty if the run has no report
    'images',  # synthetic ones that the student could draw from
    'steps',  # optimisation steps of images or generator
    'gflop',  # of synthesis and training, as torch's FlopCounterMode counts
    'curve',  # every validation's top-1
    'curve_gflop',  # and what the run had cost by then
    'config',
    'options',
    'commit',
    'versions',
)


# By which a table of an earlier call is known.
BEGIN = '| method |'


def read_rows(path: Path) -> List[Dict]:
    """Rows of earlier calls, with whatever other columns they have.

    Raises:
        ValueError: If the file is no table of results.
    """
    if not path.exists():
        return []
    try:
        return _read_rows(path)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(
            f'{path} is no table of results: {error}. Choose another --out.'
        ) from error


def _read_rows(path: Path) -> List[Dict]:
    with path.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        columns = reader.fieldnames or []
        lacking = {'method', 'seed', 'top1'} - {*columns}
        if lacking:
            raise ValueError(
                f'{path} is no table of results, since it has no '
                f'{" and no ".join(sorted(lacking))}: choose another --out.'
            )
        rows = []
        for row in reader:
            if None in row or None in row.values() or not _has_numbers(row):
                raise ValueError(
                    f'{path}, line {reader.line_num}, is no row of results: '
                    f'{[*row.values()]!r:.200}.'
                )
            rows.append({**dict.fromkeys(COLUMNS, ''), **row})
    return rows


def _has_numbers(row: Dict) -> bool:
    """Whether there are numbers wherever tables and the plot need them."""
    texts = [row['top1']]
    for name in ('seconds', 'cpu_seconds', 'images', 'steps', 'gflop'):
        texts += filter(None, [row.get(name)])
    for name in ('curve', 'curve_gflop'):
        texts += row.get(name, '').split()
    try:
        return bool([*map(float, texts)])
    except ValueError:
        return False


def table(rows: List[Dict]) -> str:
    """Mean and deviation of each method, the best one of a budget first."""
    lines = [
        f'{BEGIN} top-1, last epoch, % | runs | seconds | CPU seconds '
        '| images | synthesis steps | GFLOP |',
        '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    groups = by_method(rows)
    top1 = {m: [float(r['top1']) for r in g] for m, g in groups.items()}
    first = {row['budget']: i for i, row in reversed([*enumerate(rows)])}

    def rank(method: str) -> Tuple[int, float]:
        budget = groups[method][0]['budget']
        return first[budget], -statistics.mean(top1[method])

    for method in sorted(top1, key=rank):
        values = top1[method]
        spread = (
            f' ± {statistics.stdev(values):.2f}' if len(values) > 1 else ''
        )
        others = [
            _mean([row[key] for row in groups[method] if row[key]])
            for key in (
                'seconds',
                'cpu_seconds',
                'images',
                'steps',
                'gflop',
            )
        ]
        cells = [
            method,
            f'{statistics.mean(values):.2f}{spread}',
            str(len(values)),
            *others,
        ]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines) + '\n'


def paired_differences(rows: List[Dict], pairs: Dict[str, str]) -> str:
    """Table of what methods gain over others with the same seeds.

    Args:
        rows (list[dict]): Rows of finished runs.
        pairs (dict[str, str]): What each method is compared with.

    Returns:
        str: Mean difference, its 95 % interval and the two-sided p of
        Student's paired t test, or ``-`` where all differences are the
        same. Then which methods share fewer than two seeds, if any do.
    """
    top1: Dict[str, Dict[str, float]] = {}
    for row in rows:
        top1.setdefault(label(row), {})[row['seed']] = float(row['top1'])
    lines, too_few = [], []
    compared = {
        label({**row, 'method': m}): label({**row, 'method': pairs[m]})
        for row in rows
        for m in pairs
    }
    for method, other in compared.items():
        a, b = top1.get(method, {}), top1.get(other, {})
        seeds = [seed for seed in a if seed in b]
        if len(seeds) < 2:
            if a:
                too_few.append(f'{method} and {other} ({len(seeds)})')
            continue
        # As they are noted, to hundredths.
        differences = [round(a[s] - b[s], 6) for s in seeds]
        interval = p = '-'  # without variance there is no such test
        if len({*differences}) > 1:
            test = stats.ttest_1samp(differences, 0)
            low, high = test.confidence_interval()
            interval, p = f'{low:+.2f} to {high:+.2f}', f'{test.pvalue:.3f}'
        lines.append(
            f'| {method} | {other} | {len(seeds)} '
            f'| {statistics.mean(differences):+.2f} | {interval} | {p} |'
        )
    if lines:
        lines = [
            '| method | against | seeds | points | 95 % interval | p |',
            '| --- | --- | --- | --- | --- | --- |',
            *lines,
        ]
    if too_few:
        lines += [''] * bool(lines) + [
            'Differences need two seeds or more that both methods have: '
            f'{", ".join(too_few)}.'
        ]
    return '\n'.join([*lines, '']) if lines else ''


def _mean(values: List[str]) -> str:
    return f'{statistics.mean(map(float, values)):.0f}' if values else '-'


def cost(rows: List[Dict]) -> float:
    """Mean GFLOP of a method's runs."""
    return statistics.mean(float(row['gflop']) for row in rows)


def label(row: Dict) -> str:
    """A method, with its budget if it has one."""
    return ', '.join(filter(None, [row['method'], row['budget']]))


def by_method(rows: List[Dict]) -> Dict[str, List[Dict]]:
    """Rows of each method with each budget."""
    groups: Dict[str, List[Dict]] = {}
    for row in rows:
        groups.setdefault(label(row), []).append(row)
    return groups


def numbers_of(row: Dict, column: str) -> List[float]:
    """The numbers of a column that has one for each validation."""
    return [float(word) for word in row[column].split()]

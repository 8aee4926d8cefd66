# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Accuracy of the methods of a comparison over what they cost."""

import io
import statistics
from itertools import count
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from .compare_rows import by_method, cost, numbers_of

# Left, low, right, high.
Box = Tuple[float, float, float, float]


def positions(group: List[Dict], length: int, by_cost: bool) -> List[float]:
    """Where the last validations of a method are drawn.

    Args:
        group (list[dict]): Its rows.
        length (int): How many validations are drawn.
        by_cost (bool): Whether over operations or shares of the training.

    Returns:
        list[float]: In GFLOP or percent. Rows of earlier releases do not say
        what each had cost: then they are drawn at even distances.
    """
    costs = [numbers_of(row, 'curve_gflop')[-length:] for row in group]
    if by_cost and {*map(len, costs)} == {length}:
        return [statistics.mean(each) for each in zip(*costs)]
    whole = cost(group) if by_cost else 100
    return [whole * (index + 1) / length for index in range(length)]


def free_places(
    wanted: Sequence[Box], taken: Sequence[Box], step: float
) -> List[float]:
    """How far boxes are moved up or down so that nothing overlaps.

    Args:
        wanted (sequence[Box]): Where they would be best, the highest first.
            Of those above each other, it stays the highest.
        taken (sequence[Box]): Where none may be.
        step (float): Distances are multiples of it.

    Returns:
        list[float]: Of each box, the shortest way to a free place: up, or
        down if negative.
    """
    others = np.array([*taken], float).reshape(-1, 4)
    placed = np.empty((0, 4))
    moves: List[float] = []
    for left, low, right, high in wanted:
        near, above = (
            boxes[(boxes[:, 0] < right) & (boxes[:, 2] > left)]
            for boxes in (others, placed)
        )
        end = min(above[:, 1], default=np.inf)
        # 0, 1, -1, 2, -2 and so on.
        for move in (step * sign * n for n in count() for sign in (1, -1)):
            free = (near[:, 1] >= high + move) | (near[:, 3] <= low + move)
            if high + move <= end and free.all():
                break
        moves.append(move)
        placed = np.vstack([placed, (left, low + move, right, high + move)])
    return moves


def plot(rows: List[Dict]) -> bytes:
    """Mean accuracy in the course of training, with its range, as PNG."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.5), dpi=110)
    # Rows of earlier releases have no operations.
    by_cost = all(row['gflop'] for row in rows)
    scale = 1000 if by_cost else 1
    groups = by_method(rows)
    names = list(dict.fromkeys(row['method'] for row in rows))
    colors = {name: f'C{number % 10}' for number, name in enumerate(names)}
    lines: List[Any] = []
    ends: Dict[str, List[Tuple[float, float]]] = {}
    for group in groups.values():
        curves = [
            numbers_of(row, 'curve') or [float(row['top1'])] for row in group
        ]
        length = min(map(len, curves))
        # The last ones are after the last epoch.
        points = list(zip(*(curve[-length:] for curve in curves)))
        share = [x / scale for x in positions(group, length, by_cost)]
        name = group[0]['method']
        means = list(map(statistics.mean, points))
        # Markers, since a run that was validated once has no line.
        lines += axes.plot(
            share, means, marker='o', markevery=[-1], color=colors[name]
        )
        axes.fill_between(
            share,
            list(map(min, points)),
            list(map(max, points)),
            alpha=0.12,
            lw=0,
            color=colors[name],
        )
        axes.vlines(
            share[-1], min(points[-1]), max(points[-1]), color=colors[name]
        )
        ends.setdefault(name, []).append((share[-1], means[-1]))
    for name, points in ends.items():
        # What a method reaches with more.
        lines += axes.plot(*zip(*sorted(points)), color=colors[name], lw=0.8)
    if by_cost:
        costs = [cost(group) for group in groups.values()]
        if max(costs) > 3 * min(costs):
            axes.set_xscale('log')
            axes.xaxis.set_major_formatter('{x:,.4g}')
    axes.set_xlabel(
        'operations, TFLOP' if by_cost else 'share of the training, %'
    )
    axes.set_ylabel('top-1, %: mean and range over seeds')
    axes.grid(alpha=0.3)
    axes.margins(y=0.08)
    axes.spines[['top', 'right']].set_visible(False)  # names may be there
    write_names(axes, lines, {n: max(e) for n, e in ends.items()}, colors)
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', bbox_inches='tight')
    pyplot.close(figure)
    return buffer.getvalue()


def write_names(
    axes: Any,
    lines: List[Any],
    ends: Dict[str, Tuple[float, float]],
    colors: Dict[str, str],
) -> None:
    """Write each name beside its method's last point, where it hides none."""
    letter, margin = 8 * axes.figure.dpi / 72, 4
    to_pixels = axes.transData.transform
    axes.autoscale_view()
    taken = []
    for line in lines:
        corners = to_pixels(line.get_xydata())
        corners = corners[np.isfinite(corners).all(1)]
        # As many points as no name fits between.
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], *corners[-1:]]):
            pieces = 1 + int(max(abs(x1 - x0), abs(y1 - y0)) / letter)
            for x, y in np.linspace((x0, y0), (x1, y1), pieces + 1):
                taken.append((x - margin, y - margin, x + margin, y + margin))
    names = sorted(ends, key=lambda name: -ends[name][1])
    texts, wanted = [], []
    for name in names:
        text = axes.annotate(
            name,
            ends[name],
            (letter, 0),
            textcoords='offset pixels',
            va='center',
            fontsize=8,
            color=colors[name],
            parse_math=False,
        )
        texts.append(text)
        wanted.append(text.get_window_extent().extents)
    for text, move in zip(texts, free_places(wanted, taken, letter / 4)):
        text.set_position((letter, move))
        if abs(move) > letter:
            axes.annotate(
                '',
                text.xy,
                (letter, move),
                textcoords='offset pixels',
                arrowprops=dict(
                    arrowstyle='-',
                    color=text.get_color(),
                    lw=0.5,
                    shrinkA=0,
                    shrinkB=3,
                ),
            )

# Copyright (c) csd_mmrazor developers. All rights reserved.
import numpy as np
import pytest
from helpers import a_row
from matplotlib.figure import Figure

from csd_mmrazor.cli.compare_plot import (
    free_places,
    plot,
    positions,
    write_names,
)
from csd_mmrazor.cli.compare_rows import table as table_of


@pytest.mark.parametrize(
    'table',
    [
        [('a', 'nan')],  # no curve, no operations
        [('a', 'inf'), ('$\\frac$', '1e300')],
        [('a', '50.00', '40.00 50.00'), ('a', '52.00', '52.00'), ('b', '1')],
    ],
)
def test_few_columns_are_plotted(table):
    rows = [
        a_row(method, seed, top1, curve=''.join(curve))
        for seed, (method, top1, *curve) in enumerate(table)
    ]
    assert plot(rows).startswith(b'\x89PNG')
    assert table_of(rows)


def test_validations_are_drawn_at_what_they_had_cost():
    group = [
        a_row('a', 0, '', gflop='100', curve_gflop='40.0 70.0 100.0'),
        a_row('a', 1, '', gflop='110', curve_gflop='44.0 76.0 110.0'),
    ]
    assert positions(group, 3, True) == [42, 73, 105]
    # Fewer validations in another run: the last ones are alike.
    assert positions(group, 2, True) == [73, 105]
    assert positions(group, 4, False) == [25, 50, 75, 100]
    group[0]['curve_gflop'] = ''
    assert positions(group, 2, True) == [52.5, 105]


def overlap(one, other):
    return all(
        one[axis] < other[axis + 2] and other[axis] < one[axis + 2]
        for axis in (0, 1)
    )


def moved(boxes, moves):
    return [
        (left, low + move, right, high + move)
        for (left, low, right, high), move in zip(boxes, moves)
    ]


def test_boxes_go_where_nothing_is():
    random = np.random.default_rng(0)
    for _ in range(50):
        corners = random.integers(0, 60, (12, 2)).tolist()
        wanted = [(x, y, x + 20, y + 5) for x, y in corners]
        wanted.sort(key=lambda box: -box[1])
        taken = [(x, y, x + 30, y + 2) for x, y in corners[:3]]
        places = moved(wanted, free_places(wanted, [], 1))
        for i, place in enumerate(places):
            for other in places[:i]:
                assert not overlap(place, other)
                # Of two above each other, the higher stays the higher.
                beside = place[0] >= other[2] or other[0] >= place[2]
                assert beside or place[1] < other[1]
        (move,) = free_places(wanted[:1], taken, 1)
        (place,) = moved(wanted[:1], [move])
        assert not any(overlap(place, box) for box in taken)


def test_a_free_box_stays():
    assert free_places([(0, 0, 9, 4)], [(0, 4, 9, 8), (9, 0, 12, 4)], 1) == [0]
    assert free_places([(0, 0, 9, 4)], [(0, 3, 9, 8)], 1) == [-1]


def test_names_hide_neither_lines_nor_each_other():
    """Of methods that end at nearly the same place, and one beside them."""
    axes = Figure().subplots()
    axes.set_ylim(0, 100)
    ends = {f'method {i}': (9, 90 + i / 9) for i in range(14)}
    lines = [
        *axes.plot([1, 9], [50, 90]),
        *axes.plot([9.5, 12], [10, 95], marker='o'),
    ]
    write_names(axes, lines, ends, dict.fromkeys(ends, 'C0'))
    names = [text for text in axes.texts if text.get_text()]
    # The highest is the best.
    assert [text.get_text() for text in names] == [*ends][::-1]
    boxes = [text.get_window_extent() for text in names]
    for box, below in zip(boxes, boxes[1:]):
        assert box.y0 >= below.y1 - 1e-6
    for line in lines:
        path = line.get_transform().transform_path(line.get_path())
        assert not any(
            path.intersects_bbox(box, filled=False) for box in boxes
        )

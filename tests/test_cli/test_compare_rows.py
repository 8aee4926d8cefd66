# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.cli.compare_rows import paired_differences, read_rows


def test_paired_differences_by_hand():
    """In another order, and with a seed that the other lacks."""
    top1 = dict(
        a={3: 91.0, 1: 90.0, 2: 92.0, 9: 10.0}, b={1: 88, 2: 91, 3: 88}
    )
    rows = [
        dict(method=method, budget='', seed=str(seed), top1=str(value))
        for method, values in top1.items()
        for seed, value in values.items()
    ]
    *_, line = paired_differences(rows, dict(a='b')).splitlines()
    # Differences 2, 1 and 3: mean 2, standard error 1 / sqrt(3), and of
    # Student's t with 2 degrees of freedom 4.3027 is the 97.5 % point; its
    # distribution is 1 / 2 + t / (2 sqrt(2 + t^2)).
    t = 2 * 3**0.5
    p = 1 - t / (2 + t**2) ** 0.5
    low, high = 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5
    assert line == (
        f'| a | b | 3 | +2.00 | {low:+.2f} to {high:+.2f} | {p:.3f} |'
    )
    assert not paired_differences(rows, {})


def row(method, seed, top1, budget=''):
    return dict(method=method, seed=str(seed), top1=str(top1), budget=budget)


@pytest.mark.parametrize(
    'top1, points',
    [
        (((90.1, 90.1), (81.7, 81.7)), '+0.00'),
        # Equal differences, though not in floating point.
        (((90.1, 90.0), (81.7, 81.6)), '+0.10'),
        (((1.1, 1.3), (2.1, 2.3), (3.3, 3.5)), '-0.20'),
    ],
)
def test_differences_without_variance_are_not_tested(top1, points):
    rows = [
        row(method, seed, value)
        for seed, values in enumerate(top1)
        for method, value in zip('ab', values)
    ]
    *_, line = paired_differences(rows, dict(a='b')).splitlines()
    assert line == f'| a | b | {len(top1)} | {points} | - | - |'


NEED = 'Differences need two seeds or more that both methods have: '


@pytest.mark.parametrize(
    'rows, said',
    [
        ([row('a', 0, 1), row('b', 0, 2)], 'a and b (1).'),
        ([row('a', 0, 1), row('a', 1, 1)], 'a and b (0).'),
        ([row('a', 0, 1), row('b', 1, 2)], 'a and b (0).'),
        (
            [row(*r, 'x') for r in (('a', 0, 1), ('b', 0, 2), ('c', 0, 2))],
            'a, x and b, x (1), c, x and b, x (1).',
        ),
        # Those that were not run, or not with this budget, are not missed.
        ([row('b', 0, 1)], None),
        ([row('b', 0, 1, 'x'), row('a', 0, 1, 'y')], 'a, y and b, y (0).'),
    ],
)
def test_too_few_seeds_are_told(rows, said):
    found = paired_differences(rows, dict(a='b', c='b'))
    assert found == ('' if said is None else f'{NEED}{said}\n')


def test_too_few_seeds_are_told_after_the_table():
    rows = [row(m, s, s * len(m)) for m in ('a', 'bb') for s in range(3)]
    rows.append(row('c', 0, 1))
    found = paired_differences(rows, dict(a='bb', c='bb'))
    table, told = found.split('\n\n')
    assert table.splitlines()[2].startswith('| a | bb | 3 | -1.00 |')
    assert told == f'{NEED}c and bb (1).\n'


@pytest.mark.parametrize(
    'content, message',
    [
        ('method,seed\na,0\n', 'no table of results, since it has no top1'),
        ('\ufeffmethod,seed,top1\na,0,1\n', 'it has no method'),
        ('method,seed,top1\na,0\n', r"line 2, is no row .*'a', '0', None"),
        ('method,seed,top1\na,0,1,2\n', 'line 2, is no row of results'),
        ('method,seed,top1\na,0,90 %\n', "is no row of results: .*'90 %'"),
        ('method,seed,top1,gflop\na,0,90,much\n', "is no row .*'much'"),
        ('method,seed,top1,images\na,0,90,1 k\n', "is no row .*'1 k'"),
        ('method,seed,top1,curve\na,0,90,8;9\n', "is no row .*'8;9'"),
        ('', 'it has no method and no seed and no top1'),
        ('a' * 200_000, 'a.csv is no table of results: field larger'),
        ('method,\udcff', 'a.csv is no table of results: .*utf-8'),
    ],
)
def test_tables_that_are_none(tmp_path, content, message):
    (tmp_path / 'a.csv').write_text(content, errors='surrogateescape')
    with pytest.raises(ValueError, match=message):
        read_rows(tmp_path / 'a.csv')

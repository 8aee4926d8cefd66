# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.engine.student_choice import (
    Choice,
    Rule,
    choose,
    is_stalled,
    parse_rule,
)

NAN, INF = float('nan'), float('inf')


def history(last, mean=(), metric='top1', images='held_out'):
    """Epochs from 1, with values of a metric."""
    mean = mean or [NAN] * len(last)
    return {
        epoch: {
            who: {images: {metric: value}}
            for who, value in (('last', a), ('mean', b))
        }
        for epoch, (a, b) in enumerate(zip(last, mean), 1)
    }


@pytest.mark.parametrize(
    'rule, last, mean, expected',
    [
        # More of it is better, or less.
        ('held_out.top1', [10, 30, 20], (), (2, 'last')),
        ('held_out.kl', [3, 1, 2], (), (2, 'last')),
        ('held_out.ece', [3, 1, 2], [4, 5, 0.5], (3, 'mean')),
        # Of those as good, the latest, and the mean.
        ('held_out.top1', [30, 30, 20], (), (2, 'last')),
        ('held_out.top1', [30, 30, 20], [1, 30, 20], (2, 'mean')),
        # NaN is never better than anything.
        ('held_out.kl', [3, NAN, NAN], (), (1, 'last')),
        ('held_out.kl', [NAN, INF, NAN], (), (2, 'last')),
        ('held_out.top1', [NAN, 0, NAN], (), (2, 'last')),
        # Nothing was compared, so it is the last one.
        ('held_out.top1', [NAN, NAN], (), (2, 'last')),
        ('held_out.kl', [INF, 5, INF], (), (2, 'last')),
        # Whatever was measured.
        ('last', [30, 20, 10], [99, 99, 99], (3, 'last')),
        ('mean', [30, 20, 10], [0, 0, NAN], (3, 'mean')),
    ],
)
def test_the_best_student(rule, last, mean, expected):
    metric = rule.rpartition('.')[2]
    found = choose(history(last, mean, metric), parse_rule(rule))
    assert found[:2] == expected


def test_nothing_to_choose_from():
    assert choose({}, parse_rule('held_out.kl')) is None
    # A set that could not be measured in an epoch, or in any.
    some, rule = history([10, 20, 5]), parse_rule('held_out.top1')
    del some[2]['last']['held_out']
    assert choose(some, rule) == Choice(1, 'last', 10)
    assert not is_stalled(some, rule, 2)
    assert is_stalled(some, rule, 1)
    none = {epoch: dict(last={}, mean={}) for epoch in (1, 2, 3)}
    assert choose(none, rule)[:2] == (3, 'last')
    assert not is_stalled(none, rule, 1)


@pytest.mark.parametrize(
    'values, patience, expected',
    [
        ([10, 20, 30], 1, False),
        ([10, 30, 20], 1, True),
        ([10, 30, 20], 2, False),
        ([10, 30, 20, 29], 2, True),
        # As good is no better.
        ([10, 30, 30], 1, True),
        # Nothing was compared.
        ([10, 30, NAN], 1, False),
        ([10, 30, NAN, 20], 1, True),
        ([NAN, NAN, 10], 1, False),
        ([NAN, NAN], 1, False),
        ([10, -INF, NAN], 1, True),
        ([10, 30, 20, 31], 1, False),
        ([10], 1, False),
    ],
)
def test_stalls(values, patience, expected):
    rule = parse_rule('held_out.top1')
    assert is_stalled(history(values), rule, patience) == expected


def test_what_compares_nothing_never_stalls():
    assert not is_stalled(history([3, 2, 1]), parse_rule('last'), 1)
    assert not is_stalled({}, parse_rule('held_out.top1'), 1)


@pytest.mark.parametrize(
    'rule',
    ['', 'best', 'held_out', 'held_out.', 'kl', 'held_out.kl.x', 'a.kl', None],
)
def test_rules_that_are_none(rule):
    with pytest.raises(ValueError, match='rule should be one of last, mean'):
        parse_rule(rule)
    assert parse_rule('views.ece') == Rule('views', 'ece')


@pytest.mark.parametrize('rule', ['last', 'mean', 'views.ece'])
def test_rules_as_text(rule):
    assert str(parse_rule(rule)) == rule

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students that were better before their run; test_pruned.py has others."""

from copy import deepcopy

import pytest
from helpers import TINY
from scipy.stats import fisher_exact

from csd_mmrazor.api.became_worse import is_lower


@pytest.mark.parametrize('with_val', [True, False])
def test_a_trained_student_is_spared(with_val, teacher, net, call, capsys):
    """By a low rate, and if it is worse in the end, it is said."""
    schedule = dict(TINY, synthesis_batch=32)
    other = {} if with_val else dict(val=None)
    plan = call(
        *(teacher, deepcopy(teacher)),
        plan_only=True,
        schedule=schedule,
        **other,
    )
    assert plan.schedule.lr == 0.01
    told = capsys.readouterr().out
    assert 'so it learns at lr=0.01' in told
    assert ('% on val' in told) == with_val
    student = deepcopy(teacher)
    arguments = dict(other, schedule=dict(schedule, lr=3.0))
    for _ in range(2):  # the second call finds the run at its end
        run = call(teacher, student, **arguments)
        (text,) = (w for w in run.warnings if 'worse than it came' in w)
        assert 'schedule=dict(lr=1)' in text
        assert str(run.work_dir / 'networks/student.pth') in text
        assert ('accuracy on val' in text) == with_val
    assert run.plan.schedule.lr == 3


@pytest.mark.parametrize(
    'now, before, images, told',
    [
        (7, 9, 10, False),  # 1 and 3 errors of 10
        (1, 9, 10, True),
        (0, 1, 1, False),
        (0, 2, 2, False),
        (9, 7, 10, False),
        (300, 300, 300, False),
        (0, 0, 5, False),
        (270, 285, 300, True),
        (280, 285, 300, False),
        (9000, 9200, 10000, True),
    ],
)
def test_what_chance_explains_is_not_told(now, before, images, told):
    share, other = (100 * each / images for each in (now, before))
    assert is_lower(share, other, images) == told
    table = [[now, images - now], [before, images - before]]
    assert (fisher_exact(table, 'less').pvalue < 0.05) == told


def test_few_images_tell_nothing(teacher, call):
    """Of a student that is worse, by far, on the two that are held out."""
    schedule = dict(TINY, epochs=1, synthesis_batch=8, lr=3.0)
    run = call(teacher, deepcopy(teacher), val=None, schedule=schedule)
    assert run.agreement < 100
    assert not any('worse than it came' in w for w in run.warnings)

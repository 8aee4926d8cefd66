# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students that were better before their run; test_pruned.py has others."""

from copy import deepcopy

import pytest
from helpers import TINY


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

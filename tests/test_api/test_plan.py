# Copyright (c) csd_mmrazor developers. All rights reserved.
import re
from dataclasses import replace

import pytest

from csd_mmrazor.api.plan import (
    ENOUGH_STEPS,
    make_plan,
    warning_of_few_images,
    warning_of_few_steps,
)
from csd_mmrazor.api.schedule import (
    SCHEDULES,
    Timings,
    fit_steps,
    parse_budget,
)
from csd_mmrazor.api.trial import Trial

# A machine with small networks, and a fast one.
MACHINES = dict(
    small=Timings(4, 5, 0.2, 2, 5),
    fast=Timings(0.05, 0.06, 0.002, 0.1, 0.3),
)


@pytest.mark.parametrize('budget', ['15min', '2h', 1000, 'paper'])
@pytest.mark.parametrize('machine', ['small', 'fast'])
def test_plans(budget, machine):
    """What is left of the time is used; validation takes little of it."""
    timings, row = MACHINES[machine], SCHEDULES['grey']
    parsed = parse_budget(budget)
    if budget == 'paper':
        row = SCHEDULES['paper']
    elif isinstance(budget, int):
        row = fit_steps(row, budget)
    trial = Trial(timings, 1000, 5000, 7, None)
    plan = make_plan(parsed, row, trial, 60, (1, 28, 28))
    if isinstance(parsed, float):
        assert 0.85 * (parsed - 60) <= plan.seconds <= parsed - 60
    else:
        assert plan.schedule == row
    validations = -(-plan.schedule.epochs // plan.val_interval)
    if validations > 1:
        share = validations * timings.validation / plan.seconds
        assert share <= 0.1
    assert plan.disk == plan.schedule.images * (784 + 8) + 3 * 1000
    assert (plan.memory, plan.connector) == (5000, 7)
    # What is kept of the teacher, and what rounds leave to later ones.
    kept = replace(trial, beside=400, state=9000)
    more = make_plan(parsed, row, kept, 60, (1, 28, 28))
    assert more.disk - plan.disk == plan.schedule.images * 400 + 9000
    told = '\n'.join(plan.lines())
    assert f'{plan.schedule.images:,}' in told
    when = 'every|each' if validations > 1 else 'at the end'
    assert re.search(f'accuracy is measured .*({when}).*, which takes', told)
    assert ('budget:' in told) == isinstance(parsed, float)
    assert told.endswith('; weights of the connector: 7')
    assert 'connector' not in replace(plan, connector=0).lines()[-1]


def test_the_shares_of_a_budget_add_up():
    trial = Trial(MACHINES['fast'], 1000, 5000, 7, None)
    row = SCHEDULES['grey']
    plan = make_plan(900.0, row, trial, 21.4, (1, 28, 28))
    told = plan.lines()[1]
    times = re.findall(r'(?:(\d+) min )?(\d+) s|(\d+) min,', told)
    seconds = [60 * int(a or c or 0) + int(b or 0) for a, b, c in times]
    assert seconds[:2] == [900, 21] and len(seconds) == 4
    assert seconds[0] == sum(seconds[1:])
    assert plan.late(900.9) == ''
    assert '15 min 26 s, 26 s more than the budget' in plan.late(925.7)


@pytest.mark.parametrize('machine', ['small', 'fast'])
def test_steps_that_are_too_few(machine):
    """The warning names a time that has enough, and none far above."""
    row, timings = SCHEDULES['grey'], MACHINES[machine]
    trial = Trial(timings, 1000, 5000, 7, None)

    def told(budget):
        plan = make_plan(budget, row, trial, 10, (1, 28, 28))
        return plan.schedule.student_steps, warning_of_few_steps(plan, row)

    least = 6 * timings.init_round + timings.epoch + timings.validation
    steps, line = told(10.0 + least)
    assert steps < ENOUGH_STEPS
    assert f'random weights learns little in {steps} step' in line
    (minutes,) = re.findall(r'budget="(\d+)min"', line)
    steps, line = told(60.0 * int(minutes))
    assert steps >= ENOUGH_STEPS and line == ''
    plan = make_plan(5, fit_steps(row, 5), trial, 10, (1, 28, 28))
    assert 'learns little in 5 steps' in warning_of_few_steps(plan, row)
    plan = make_plan(100, fit_steps(row, 100), trial, 10, (1, 28, 28))
    assert warning_of_few_steps(plan, row) == ''


def test_fewer_images_than_classes():
    assert warning_of_few_images(10, 10) == ''
    said = 'of 1,000 classes, 999 or more have no image, since there are 1 im'
    assert said in warning_of_few_images(1, 1000)

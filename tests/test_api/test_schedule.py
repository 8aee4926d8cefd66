# Copyright (c) csd_mmrazor developers. All rights reserved.
import re
from dataclasses import replace

import pytest

from csd_mmrazor.api.schedule import (
    FEWEST_EPOCHS,
    MOST_EPOCHS,
    PLANNED,
    SCHEDULES,
    Timings,
    fit_steps,
    fit_time,
    parse_budget,
    schedule_for,
)

# A slow machine with large networks, one with small ones, a fast one.
MACHINES = dict(
    large=Timings(60, 70, 2, 10, 30),
    small=Timings(4, 5, 0.2, 2, 5),
    fast=Timings(0.05, 0.06, 0.002, 0.1, 0.3),
)


@pytest.mark.parametrize(
    'budget, expected',
    [
        ('90s', 90.0),
        ('15min', 900.0),
        ('15 min', 900.0),
        ('15m', 900.0),
        ('2h', 7200.0),
        ('1.5H', 5400.0),
        ('1h30min', 5400.0),
        (100, 100),
        ('100', 100),
        ('paper', 'paper'),
    ],
)
def test_budgets(budget, expected):
    found = parse_budget(budget)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    'budget', [10**9, 10**30, str(10**9), '99999h', f'{10**90}h']
)
def test_what_is_too_much(budget):
    with pytest.raises(ValueError, match='budget=.* is too much: '):
        parse_budget(budget)


@pytest.mark.parametrize(
    'budget',
    [
        '9' * 5000,
        '',
        'h',
        '15',
        '-5min',
        '15 days',
        '0s',
        0,
        -1,
        1.5,
        True,
        None,
    ],
)
def test_what_is_no_budget(budget):
    if budget == '15':  # steps
        assert parse_budget(budget) == 15
        return
    with pytest.raises(ValueError, match='budget should be a time such as'):
        parse_budget(budget)


@pytest.mark.parametrize(
    'shape, row',
    [
        ((1, 28, 28), 'grey'),
        ((1, 8, 8), 'grey'),
        ((3, 32, 32), 'small'),
        ((2, 16, 64), 'small'),
        ((1, 64, 64), 'large'),
        ((3, 224, 224), 'large'),
    ],
)
def test_rows(shape, row):
    assert schedule_for(shape) is SCHEDULES[row]


@pytest.mark.parametrize('row', ['grey', 'small', 'large'])
@pytest.mark.parametrize('steps', [1, 7, 40, 101, 1000, 3000, 50_000])
def test_steps(row, steps):
    found = fit_steps(SCHEDULES[row], steps)
    assert steps - found.epochs < found.student_steps <= steps
    assert 1 <= found.epochs <= MOST_EPOCHS
    assert found.init_rounds >= 1 and found.rounds >= 1
    if steps >= SCHEDULES[row].student_steps:
        # As many images for each step as in the row.
        share = found.rounds / found.steps
        expected = SCHEDULES[row].rounds / SCHEDULES[row].steps
        assert share == pytest.approx(expected, rel=0.15)


def test_no_round_is_planned_where_there_are_images():
    row = replace(SCHEDULES['grey'], init_rounds=0)
    assert fit_steps(row, 100).init_rounds == 0
    assert fit_time(row, MACHINES['small'], 600).init_rounds == 0


@pytest.mark.parametrize('row', ['grey', 'small', 'large'])
@pytest.mark.parametrize('machine', MACHINES)
@pytest.mark.parametrize('seconds', [600, 900, 3600, 7200, 36_000, 360_000])
@pytest.mark.parametrize('val_interval', [1, 5])
def test_the_time_is_used_and_kept_to(row, machine, seconds, val_interval):
    timings = MACHINES[machine]
    found = fit_time(SCHEDULES[row], timings, seconds, val_interval)
    takes = timings.seconds(found, val_interval)
    assert 0.9 * seconds <= takes <= seconds
    assert found.epochs <= MOST_EPOCHS
    if machine != 'large':
        assert found.epochs >= FEWEST_EPOCHS


@pytest.mark.parametrize('row', ['grey', 'small', 'large'])
def test_rounds_leave_short_times_to_steps(row):
    """However few epochs there are, and no step fewer with more time."""
    slow = Timings(5, 5, 0.13, 1, 0.5)
    before = 0
    for seconds in (40, 60, 80, 110, 150, 200, 250, 300, 400, 600):
        found = fit_time(SCHEDULES[row], slow, seconds)
        expected = SCHEDULES[row].steps / SCHEDULES[row].rounds
        assert found.steps >= 0.9 * expected * found.rounds
        assert found.init_rounds <= 1 + found.epochs * found.rounds
        assert found.student_steps > before
        before = found.student_steps


def test_the_seconds_of_a_schedule():
    """By hand: two rounds first; of three epochs, the second is validated
    and the last."""
    schedule = replace(
        SCHEDULES['grey'], init_rounds=2, rounds=3, steps=5, epochs=3
    )
    timings = Timings(
        **dict(init_round=7, round=11, step=13, epoch=17, validation=19),
        **dict(choice=23, fit=29, imported=31),
    )
    by_hand = 2 * 7 + 3 * (3 * 11 + 5 * 13 + 17) + 2 * 19 + 23 + 29 + 31
    assert timings.seconds(schedule, val_interval=2) == by_hand
    size = schedule.synthesis_batch
    assert schedule.images == (2 + 9) * size
    assert schedule.student_steps == 15
    assert schedule.synthesis_steps == 2 * 10 + 9 * 10


def test_too_little_time():
    """What is said to be enough is enough."""
    args = SCHEDULES['large'], MACHINES['large']
    passed = 40
    with pytest.raises(ValueError, match='of its 120 s, 40 s went') as caught:
        fit_time(*args, PLANNED * (120 - passed), passed=passed)
    (least,) = re.findall(r'at least (\d+)s', str(caught.value))
    assert int(least) > 120
    assert fit_time(*args, PLANNED * (int(least) - passed)).epochs >= 1
    with pytest.raises(ValueError, match='of its 20 s, 40 s went'):
        fit_time(*args, PLANNED * (20 - passed), passed=passed)


def test_the_papers_numbers(tmp_path):
    """Those of the base config."""
    from helpers import ROOT
    from mmengine.config import Config

    cfg = Config.fromfile(ROOT / 'configs/_base_/csd.py')
    hook, paper = cfg.default_hooks.synthesis, SCHEDULES['paper']
    synthesizer, losses = (
        hook.synthesizer,
        cfg.model.distiller.distill_losses,
    )
    loader = cfg.train_dataloader
    assert (paper.init_rounds, paper.init_iters, paper.rounds) == (
        hook.init_rounds,
        hook.init_iters,
        hook.rounds,
    )
    assert (paper.iters, paper.synthesis_batch) == (
        synthesizer.iters,
        synthesizer.batch_size,
    )
    assert (paper.latent_dim, paper.hidden_channels) == (
        synthesizer.generator.latent_dim,
        synthesizer.generator.hidden_channels,
    )
    assert paper.epochs == cfg.train_cfg.max_epochs
    assert paper.batch == loader.batch_size
    assert paper.steps * paper.batch == loader.sampler.num_samples
    assert paper.lr == cfg.optim_wrapper.architecture.optimizer.lr
    assert paper.csd == synthesizer.losses.loss_csd.loss_weight
    assert paper.feature == losses.loss_feature.loss_weight
    assert paper.tau == losses.loss_kd.tau
    assert not paper.warm and 'meta' not in synthesizer

# Copyright (c) csd_mmrazor developers. All rights reserved.
import numpy as np
import pytest
from helpers import ROOT
from scipy.special import expit, logit
from scipy.stats import binomtest

from csd_mmrazor.cli.label_free import read_rows, students_of
from csd_mmrazor.utils.accuracy import (
    APART,
    COVERAGE,
    FITS,
    LEAST,
    Fit,
    Student,
    doubts_about,
    estimate_accuracy,
    fit_accuracy,
    left_out,
    log_odds,
    wilson,
)


@pytest.mark.parametrize('share', [0, 0.001, 0.005, 0.3, 0.5, 0.995, 1])
def test_log_odds(share):
    assert log_odds(share) == pytest.approx(
        logit(np.clip(share, 0.02, 0.98)), abs=1e-12
    )


@pytest.mark.parametrize('agreement', [0, 12.5, 50, 99, 100])
def test_an_estimate(agreement):
    """It says itself what it is: a share of the teacher's accuracy."""
    fit = Fit(0.2, 0.7, 0.5, 1, 2, 3, 4)
    found = estimate_accuracy(fit, agreement)
    line = 0.2 + 0.7 * logit(np.clip(agreement / 100, 0.02, 0.98))
    expected = [100 * expit(v) for v in (line, line - 0.5, line + 0.5)]
    assert [*found] == pytest.approx(expected)
    assert 0 <= found.low < found.percent_of_teacher < found.high <= 100
    known = found.accuracy(93.4)
    assert [*known] == pytest.approx([0.934 * share for share in expected])
    share, low, high = (f'{value:.1f}' for value in expected)
    assert f'{found}' == (
        f"{share} % of the teacher's, interval {low} to {high} %"
    )
    assert f'{known}' == (
        f'{known.top1:.1f} %, interval {known.low:.1f} to {known.high:.1f} %'
    )


def test_an_interval_has_its_teacher_where_it_comes_near():
    """What a fit does not tell apart from 0 or 1 is within."""
    fit = Fit(0, 1, 0.5, 1, 2, 3, 4)
    for agreement in (3, 90, 97):
        found = estimate_accuracy(fit, agreement).accuracy(80)
        line = logit(agreement / 100)
        low, high = 80 * expit([line - 0.5, line + 0.5])
        if agreement == 3:
            low = 0
        elif agreement == 97:
            high = 80
        assert found[1:] == pytest.approx((low, high))


SAMPLES = [(0, 1), (1, 1), (2, 3), (52, 60), (250, 500), (1999, 2000)]


@pytest.mark.parametrize('alike, images', SAMPLES)
def test_an_estimate_by_few_images(alike, images):
    ends = binomtest(alike, images).proportion_ci(COVERAGE, 'wilson')
    share = alike / images
    assert wilson(share, images) == pytest.approx([*ends], abs=1e-12)
    fit = Fit(0.2, 0.7, 0.5, 1, 2, 3, 4)
    found = estimate_accuracy(fit, 100 * share, images)
    middle, low, high = (
        0.2 + 0.7 * logit(np.clip(p, 0.02, 0.98)) for p in (share, *ends)
    )
    expected = (
        middle,
        middle - np.sqrt(0.25 + (middle - low) ** 2),
        middle + np.sqrt(0.25 + (high - middle) ** 2),
    )
    assert [*found] == pytest.approx([100 * expit(v) for v in expected])
    doubts = doubts_about('held_out', images)
    assert bool(doubts) == (f'{images} images are few' in f'{doubts}')
    assert bool(doubts) == (images < 100)


def test_an_interval_holds_what_a_few_images_cannot_tell():
    """With a line that is exact: as many as it says, and not one in one."""
    seed = np.random.default_rng(0)
    fit = Fit(0, 1, 0, 0, 0, 3, 4)
    for images in (1, 7, 40, 500):
        truth = seed.uniform(2, 98, 2000)
        alike = seed.binomial(images, truth / 100)
        within = []
        for k, p in zip(alike, truth):
            found = estimate_accuracy(fit, 100 * k / images, images=images)
            within.append(found.low - 1e-9 <= p <= found.high + 1e-9)
        assert np.mean(within) > COVERAGE - 0.04, images
    known = estimate_accuracy(FITS['held_out'], 100, images=1)
    assert known.low < 52  # as a student of 52 % had that


def drawn(tasks=4):
    """Tasks of different numbers of students."""
    seed = np.random.default_rng(0)
    return [
        Student(str(task), a, 90 * expit(0.3 + logit(a / 100) + e), 90)
        for task in range(tasks)
        for a, e in zip(
            seed.uniform(5, 98, 5 + 7 * task), seed.normal(size=99)
        )
    ]


def kept_by(student):
    return np.clip(student.top1 / student.teacher_top1, 0.02, 0.98)


def test_the_fit_by_hand():
    students = drawn()

    def line_of(some):
        sizes = [sum(o.task == s.task for o in some) for s in some]
        x = logit([np.clip(s.agreement / 100, 0.02, 0.98) for s in some])
        y = logit([kept_by(s) for s in some])
        return np.polyfit(x, y, 1, w=np.sqrt(1 / np.array(sizes)))

    fit = fit_accuracy(students)
    assert (fit.slope, fit.intercept) == pytest.approx([*line_of(students)])
    means, off, weights = [], [], []
    for task in '0123':
        slope, intercept = line_of([s for s in students if s.task != task])
        errors = []
        for s in students:
            if s.task == task:
                share = np.clip(s.agreement / 100, 0.02, 0.98)
                x = intercept + slope * logit(share)
                errors.append(abs(90 * expit(x) - s.top1))
                off.append(abs(x - logit(kept_by(s))))
        means.append(np.mean(errors))
        weights += [1 / len(errors)] * len(errors)
    assert fit.mean_error == pytest.approx(np.mean(means))
    assert fit.worst_error == pytest.approx(max(means))
    assert (fit.tasks, fit.students) == (4, len(students))
    # As many of the left-out students are within the interval, where each
    # task counts as much as any other.
    off = np.array(off)
    inside = [
        np.average(each, weights=weights)
        for each in (off <= fit.spread + 1e-12, off < fit.spread - 1e-12)
    ]
    assert inside[1] < COVERAGE <= inside[0]


def test_tasks_that_are_left_out():
    """Neither line nor interval is fitted on them."""
    students = drawn()
    found = left_out(students)
    assert [*found] == [*'0123']
    for task, each in found.items():
        own = [s for s in students if s.task == task]
        fit = fit_accuracy([s for s in students if s.task != task])
        estimates = [
            estimate_accuracy(fit, s.agreement).accuracy(90) for s in own
        ]
        off = [abs(e.top1 - s.top1) for e, s in zip(estimates, own)]
        assert each.error == pytest.approx(np.mean(off))
        inside = [
            e.low <= 90 * kept_by(s) <= e.high for e, s in zip(estimates, own)
        ]
        assert each.covered == pytest.approx(100 * np.mean(inside))
        assert each.students == len(own)
    assert any(0 < each.covered < 100 for each in found.values())


def test_a_relation_without_exceptions_has_no_error():
    students = [
        Student(task, a, 80 * expit(0.1 + 0.9 * logit(a / 100)), 80)
        for task in 'abc'
        for a in (20, 50, 90)
    ]
    fit = fit_accuracy(students)
    assert fit[:5] == pytest.approx((0.1, 0.9, 0, 0, 0), abs=1e-9)


@pytest.mark.parametrize('images', [*FITS])
def test_the_fits_are_those_of_the_rows(images):
    rows = read_rows(ROOT / 'docs/results/label_free.csv')
    found = fit_accuracy(students_of(rows, images))
    assert found == pytest.approx(FITS[images], rel=1e-3)
    assert found.tasks >= 5
    # What the page says.
    page = (ROOT / 'docs/label_free.md').read_text()
    for value in (found.mean_error, found.worst_error):
        assert f'{value:.1f}' in page


@pytest.mark.parametrize('images, number', [('held_out', 2), ('seen', 1)])
def test_students_of_whom_nothing_is_estimated(images, number):
    """As many as the page says, all of them estimated too high."""
    found = []
    for row in read_rows(ROOT / 'docs/results/label_free.csv'):
        for student in students_of([row], images):
            if student.agreement - float(row[f'{images}_top1']) > APART:
                estimated = estimate_accuracy(FITS[images], student.agreement)
                known = estimated.accuracy(student.teacher_top1)
                found.append(known.top1 > student.top1)
    assert found == [True] * number


def test_of_how_many_images_an_accuracy_is_estimated():
    """Beyond, the line is what an estimate is off by for the most part."""

    def by_chance(fit, images):
        return max(
            fit.slope * abs(log_odds(end) - log_odds(alike / images))
            for alike in range(images + 1)
            for end in wilson(alike / images, images)
        )

    for fit in FITS.values():
        for images in range(LEAST, 200):
            assert by_chance(fit, images) <= fit.spread
    held_out = FITS['held_out']
    assert by_chance(held_out, LEAST - 1) > held_out.spread
    page = (ROOT / 'docs/label_free.md').read_text()
    assert f'sure of fewer than {LEAST}' in page


def test_there_is_a_fit_for_each_bank():
    assert {*FITS} == {'held_out', 'seen'}

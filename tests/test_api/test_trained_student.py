# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students that are good before they are distilled."""

import pytest
import torch

from csd_mmrazor.api.trained_student import beyond_chance, rate_for


def kappa(one, other):
    """By the definition, of pairs of decisions."""
    count = len(one)
    same = sum(a == b for a, b in zip(one, other)) / count
    chance = sum(a == b for a in one for b in other) / count**2
    return (same - chance) / (1 - chance)


@pytest.mark.parametrize('wrong', [0, 10, 30, 60])
def test_agreement_beyond_chance(wrong):
    generator = torch.Generator().manual_seed(wrong)
    one = torch.randint(4, (100,), generator=generator)
    other = one.clone()
    other[:wrong] = torch.randint(4, (wrong,), generator=generator)
    expected = kappa(one.tolist(), other.tolist())
    assert beyond_chance(one, other) == pytest.approx(expected)
    assert expected > 0.2


@pytest.mark.parametrize(
    'one, other',
    [
        ([1] * 50, [1] * 50),  # the same, whatever they see
        ([0, 1] * 50, [1] * 100),  # half of them, and one says nothing
        ([0, 1] * 50, [1, 0] * 50),  # the opposite
        ([0, 1, 1, 0], [0, 1, 1, 1]),  # four images may agree by chance
    ],
)
def test_agreement_that_says_nothing(one, other):
    assert beyond_chance(torch.tensor(one), torch.tensor(other)) == 0


@pytest.mark.parametrize(
    'agreement, rate, expected',
    [
        (0, 0.1, 0.1),
        (0.19, 0.1, 0.1),
        (0.2, 0.1, 0.03),
        (0.5, 0.1, 0.01),
        (1, 0.1, 0.01),
        (1, 0.002, 0.002),
    ],
)
def test_rates(agreement, rate, expected):
    assert rate_for(agreement, rate) == expected


def test_a_student_with_random_weights_learns_as_ever(teacher, net, call):
    torch.manual_seed(0)
    plan = call(teacher, net(4), plan_only=True)
    assert plan.schedule.lr == 0.1

# Copyright (c) csd_mmrazor developers. All rights reserved.
import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import entropy

from csd_mmrazor.models.synthesizers import (
    agreement,
    calibration_error,
    chance_agreement,
)


@pytest.mark.parametrize('number, classes', [(1, 2), (40, 3), (300, 10)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_image_by_image(number, classes, dtype):
    logits_s, logits_t = 3 * torch.randn(2, number, classes).to(dtype)
    labels = torch.randint(classes, (number,))
    logits_t[0, 0] = 30  # or it might be sure of none
    found = agreement(logits_s, logits_t, labels)
    plain = agreement(logits_s, logits_t)
    assert {k: found[k] for k in ('top1', 'kl', 'ece')} == plain
    p_s, p_t = (
        softmax(each.double().numpy(), axis=1) for each in (logits_s, logits_t)
    )
    alike = [a.argmax() == b.argmax() for a, b in zip(p_s, p_t)]
    assert found['top1'] == pytest.approx(100 * np.mean(alike))
    known = [p.argmax() == label for p, label in zip(p_t, labels.numpy())]
    assert found['recognised'] == pytest.approx(100 * np.mean(known))
    assert found['confident'] == pytest.approx(
        100 * np.mean([a for a, p in zip(alike, p_t) if p.max() >= 0.9])
    )
    assert found['confident_images'] == sum(p.max() >= 0.9 for p in p_t)
    sure = [
        [int(p.argmax()) for p, t in zip(each, p_t) if t.max() >= 0.9]
        for each in (p_s, p_t)
    ]
    assert found['chance'] == pytest.approx(
        100 * np.mean([a == b for a in sure[0] for b in sure[1]])
    )
    assert found['kl'] == pytest.approx(
        np.mean([entropy(b, a) for a, b in zip(p_s, p_t)])
    )
    error = 0.0
    for low in range(15):
        # Bins are open at their lower end.
        chosen = [
            (p.max(), same)
            for p, same in zip(p_s, alike)
            if low < round(15 * p.max(), 9) <= low + 1
        ]
        if chosen:
            gap = np.mean([c for c, _ in chosen]) - np.mean(
                [same for _, same in chosen]
            )
            error += len(chosen) / number * abs(gap)
    assert found['ece'] == pytest.approx(100 * error)


def test_the_same_logits():
    logits = 5 * torch.randn(50, 4)
    found = agreement(logits, logits)
    assert (found['top1'], found['kl']) == (100, 0)
    # Of the same decisions, as far as it is not sure of them.
    doubt = 1 - logits.double().softmax(1).max(1)[0]
    assert found['ece'] == pytest.approx(100 * doubt.mean().item())


def test_a_student_that_is_sure_of_what_the_teacher_denies():
    logits_s, logits_t = torch.tensor([[1e4, 0.0]]), torch.tensor([[0, 1e4]])
    found = agreement(logits_s, logits_t)
    assert found == dict(top1=0, kl=pytest.approx(1e4), ece=100)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_networks_that_are_none(value):
    logits = torch.randn(5, 3)
    broken = logits.clone()
    broken[2, 1] = value
    for pair in ((broken, logits), (logits, broken)):
        for labels in ([], [torch.zeros(5)]):
            found = agreement(*pair, *labels)
            assert len(found) == (7 if labels else 3)
            assert all(math.isnan(v) for v in found.values())


def test_a_teacher_that_is_sure_of_nothing():
    logits = torch.eye(3)
    found = agreement(logits, logits, torch.tensor([1, 2, 0]))
    assert found['recognised'] == found['confident_images'] == 0
    assert 'confident' not in found and 'chance' not in found


def test_one_class_whatever_is_seen():
    """Such a student agrees on all images of that class, by chance."""
    logits_t = torch.eye(10)[[3] * 40] * 20
    logits_s = torch.eye(10)[[3] * 40]
    found = agreement(logits_s, logits_t, torch.full((40,), 3))
    assert found['confident'] == found['chance'] == 100
    labels = torch.arange(10).repeat(4)
    found = agreement(logits_s, torch.eye(10)[labels] * 20, labels)
    assert found['confident'] == found['chance'] == pytest.approx(10)
    one, other = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 1, 2])
    assert chance_agreement(one, other) == pytest.approx(0.5 * 0.75)


@pytest.mark.parametrize(
    'confidence, right, error',
    [
        ([1.0, 1.0], [True, False], 0.5),
        ([0.0, 1.0], [False, True], 0.0),
        ([0.6, 0.61, 0.9], [True, False, True], (0.4 + 0.61 + 0.1) / 3),
    ],
)
def test_the_calibration_error_by_hand(confidence, right, error):
    found = calibration_error(
        torch.tensor(confidence, dtype=torch.float64), torch.tensor(right)
    )
    assert found == pytest.approx(error)

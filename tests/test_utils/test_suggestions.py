# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.utils.suggestions import closest, did_you_mean


@pytest.mark.parametrize(
    'name, expected',
    [
        ('bugdet', " Did you mean 'budget'?"),
        ('BUDGET', " Did you mean 'budget'?"),
        ('colour', ''),
        (3, ''),
    ],
)
def test_did_you_mean(name, expected):
    assert did_you_mean(name, ['budget', 'seed']) == expected


@pytest.mark.parametrize(
    'name, expected',
    [
        ('learning_rate', 'lr'),
        ('batchnorm', 'bn'),
        ('cross_entropy', 'ce'),
        ('flip', 'flip_prob'),
        ('tea', None),  # of two
        ('zz', None),
    ],
)
def test_short_names(name, expected):
    known = ['lr', 'bn', 'ce', 'kd', 'flip_prob', 'teacher_a', 'teacher_b']
    found = did_you_mean(name, known)
    assert found == (f' Did you mean {expected!r}?' if expected else '')


def test_how_alike_they_have_to_be():
    assert closest('sead', ['seed']) is None
    assert closest('sead', ['seed'], 0.7) == 'seed'

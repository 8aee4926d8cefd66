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


def test_how_alike_they_have_to_be():
    assert closest('sead', ['seed']) is None
    assert closest('sead', ['seed'], 0.7) == 'seed'

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What ``python -m csd_mmrazor distill`` says in the end."""

from types import SimpleNamespace as Some

import pytest

from csd_mmrazor.cli.distill import told_of
from csd_mmrazor.utils.accuracy import AccuracyEstimate

UNKNOWN = dict(top1=None, teacher_top1=None, agreement=None, estimate=None)
SHOWN = (
    ' gives the same class as its teacher on 87.5 % of the images that were '
    'held out from its training'
)


@pytest.mark.parametrize(
    'known, told',
    [
        ({}, ''),
        (dict(top1=90.0, teacher_top1=99.0), ' reaches 90.00 %, its teacher '),
        (dict(agreement=87.5), f'{SHOWN}. Too few of them are clear'),
        (
            dict(agreement=87.5, estimate=AccuracyEstimate(80, 60, 91.25)),
            f"{SHOWN}. Estimated accuracy: 80.0 % of the teacher's, interval "
            '60.0 to 91.2 %',
        ),
    ],
)
def test_how_good_the_student_is(known, told):
    found = told_of(Some(**{**UNKNOWN, **known}))
    assert found.startswith(told) and bool(found) == bool(told)

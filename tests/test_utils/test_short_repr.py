# Copyright (c) csd_mmrazor developers. All rights reserved.
from csd_mmrazor.api.schedule import Timings
from csd_mmrazor.utils.accuracy import Accuracy, AccuracyEstimate


def test_numbers_of_four_digits():
    third = 100 / 3
    assert repr(AccuracyEstimate(third, 2 / third, 99.96)) == (
        'AccuracyEstimate(percent_of_teacher=33.33, low=0.06, high=99.96)'
    )
    assert '=33.33, ' in repr(Accuracy(third, 1, 2))
    timings = Timings(12345.6, third, third / 1e6, 0)
    assert repr(timings).startswith(
        'Timings(init_round=12350.0, round=33.33, step=3.333e-05, epoch=0, '
    )
    assert timings.round == third

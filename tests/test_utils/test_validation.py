# Copyright (c) csd_mmrazor developers. All rights reserved.
from types import SimpleNamespace

import pytest

from csd_mmrazor.utils.validation import check_metrics

COSINE = dict(type='CosineAnnealingLR', by_epoch=True)
PLATEAU = SimpleNamespace(need_val_args=True, monitor='acc')


@pytest.mark.parametrize(
    'schedulers',
    [
        None,
        COSINE,
        [COSINE],
        dict(architecture=COSINE, aux_head=[]),
        dict(architecture=[COSINE, COSINE]),
    ],
)
def test_schedules_that_are_not_built_yet(schedulers):
    runner = SimpleNamespace(hooks=[], param_schedulers=schedulers)
    check_metrics(runner, dict(top1=1.0))


@pytest.mark.parametrize('schedulers', [[PLATEAU], dict(a=[PLATEAU], b=[])])
def test_a_schedule_of_no_metric(schedulers):
    runner = SimpleNamespace(hooks=[], param_schedulers=schedulers)
    with pytest.raises(ValueError, match="monitor='acc'.*'top1'"):
        check_metrics(runner, dict(top1=1.0))
    check_metrics(runner, dict(acc=1.0))

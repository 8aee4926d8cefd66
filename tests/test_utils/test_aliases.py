# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
from mmengine.registry import DefaultScope
from mmrazor.registry import DATASETS, TASK_UTILS

from csd_mmrazor.datasets import DummyImages
from csd_mmrazor.models import HalfShiftTask


@pytest.mark.parametrize(
    'registry, old, cls',
    [
        (TASK_UTILS, 'QuartersTask', HalfShiftTask),
        (DATASETS, 'BlankImages', DummyImages),
    ],
)
def test_old_names_still_build(registry, old, cls):
    with DefaultScope.overwrite_default_scope('mmrazor'):
        with pytest.warns(FutureWarning, match=f'called {cls.__name__}'):
            built = registry.build(dict(type=old))
    assert type(built) is cls

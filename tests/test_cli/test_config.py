# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
from mmengine.config import Config

from csd_mmrazor.cli.config import is_csd
from csd_mmrazor.models import CSDDistillation


@pytest.mark.parametrize(
    'kind, found',
    [
        ('CSDDistillation', True),
        ('mmrazor.CSDDistillation', True),
        (CSDDistillation, True),
        ('SingleTeacherDistill', False),
        (None, False),
    ],
)
def test_whether_it_is_ours(kind, found):
    """By name or by class, as configs in pure Python have it."""
    assert is_csd(Config(dict(model=dict(type=kind)))) is found

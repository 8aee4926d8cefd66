# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Networks with parameters that are integers."""

import pytest
import torch
from mmengine.model import BaseModule
from torch import nn

from csd_mmrazor.models.utils import without_integers


def test_they_are_left_out_and_come_back():
    module = BaseModule()
    module.order = nn.Parameter(torch.arange(3), requires_grad=False)
    module.fc = nn.Linear(3, 2)
    module.mask = nn.Parameter(torch.ones(2, dtype=torch.bool), False)
    before = dict(module.named_parameters())
    with pytest.raises(RuntimeError, match='mean'):
        module.init_weights()
    del module._params_init_info
    with pytest.raises(KeyError), without_integers(module):
        assert [*dict(module.named_parameters())] == ['fc.weight', 'fc.bias']
        module.init_weights()
        raise KeyError
    after = dict(module.named_parameters())
    assert [*after] == [*before]
    assert all(after[key] is value for key, value in before.items())

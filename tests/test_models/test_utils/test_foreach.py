# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from mmengine.registry import OPTIMIZERS
from torch import nn

from csd_mmrazor.models.utils import with_foreach


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='Adam', lr=1e-3, betas=(0.5, 0.999)),
        dict(type='AdamW', lr=1e-2),
        dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
        dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True),
        dict(type='RMSprop', lr=0.1),
        dict(type=torch.optim.Adagrad, lr=0.1),
    ],
)
def test_the_same_weights_to_the_bit(cfg):
    weights = []
    for each in (cfg, with_foreach(cfg)):
        torch.manual_seed(0)
        params = [
            nn.Parameter(torch.randn(5, 4, 3, 3)),
            nn.Parameter(
                torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
            ),
            nn.Parameter(torch.randn(7)),
        ]
        optimizer = OPTIMIZERS.build(dict(each, params=params))
        for _ in range(5):
            for param in params:
                param.grad = torch.randn_like(param)
            optimizer.step()
        weights.append(params)
    assert optimizer.defaults['foreach']
    assert all(map(torch.equal, *weights))


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='Adam', foreach=False),
        dict(type='Adam', fused=True),
        dict(type='Adam', capturable=True),
        dict(type='SGD', lr=0.1, differentiable=True),
        dict(type='Adam', lr=torch.tensor(0.1)),
        dict(type='LBFGS'),
        dict(type='SparseAdam'),
        dict(type='there is none'),
        dict(lr=0.1),
    ],
)
def test_what_is_left_as_it_is(cfg):
    assert with_foreach(cfg) is cfg

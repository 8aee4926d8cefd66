# Copyright (c) csd_mmrazor developers. All rights reserved.
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
from mmengine.optim import (
    ConstantMomentum,
    LinearLR,
    OptimWrapper,
    OptimWrapperDict,
)
from torch.utils.data import DataLoader

from csd_mmrazor.engine.synthesis import describe_plan


def wrapper(lr):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr, momentum=0.9)
    return OptimWrapper(optimizer)


@pytest.mark.parametrize('steps', [0, 1, 3])
@pytest.mark.parametrize('scheduled', [LinearLR, ConstantMomentum, None])
@pytest.mark.parametrize('of_dict', [True, False])
def test_rates_are_those_that_were_set(steps, scheduled, of_dict):
    """Not those of the warm-up, nor of where a run resumes."""
    warm_up, other = wrapper(0.07), wrapper(0.1)
    if scheduled is not None:
        scheduler = scheduled(warm_up, 0.01, end=10)
        for _ in range(steps):
            warm_up.optimizer.step()
            scheduler.step()
    if scheduled is LinearLR:
        assert warm_up.param_groups[0]['lr'] < 0.03
    runner = SimpleNamespace(
        train_dataloader=DataLoader(range(32), 8),
        max_iters=12,
        auto_scale_lr=None,
        optim_wrapper=OptimWrapperDict(architecture=warm_up, aux_head=other)
        if of_dict
        else warm_up,
    )
    rates = 'architecture.lr 0.07, aux_head.lr 0.1' if of_dict else 'lr 0.07'
    assert describe_plan(runner) == (
        '1 process x 8 images: effective batch 8, 4 student steps an epoch, '
        f'12 in all. Rates: {rates}.'
    )
    warm_up._accumulative_counts = 3
    several = '3, 1' if of_dict else '3'
    assert (
        f'12 in all; gradients of {several} steps are accumulated before '
        'weights change, which the effective batch leaves out. Rates: '
        f'{rates}.' in describe_plan(runner)
    )

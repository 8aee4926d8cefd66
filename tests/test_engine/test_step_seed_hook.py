# Copyright (c) csd_mmrazor developers. All rights reserved.
"""With MMRazor's algorithms it is in test_related_methods.py."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from csd_mmrazor.engine.hooks import StepSeedHook


def drawn(seed, step):
    runner = SimpleNamespace(seed=seed, iter=step)
    StepSeedHook().before_train_iter(runner, 0)
    return torch.rand(1).item(), np.random.rand(), random.random()


def test_each_step_draws_by_its_number():
    assert drawn(0, 3) == drawn(0, 3)
    others = [drawn(0, 4), drawn(1, 3), drawn(1, 4)]
    assert len({drawn(0, 3), *others}) == 4


def test_it_does_not_replace_the_seeds_of_epochs(tiny_runner):
    runner = tiny_runner()
    runner.register_hook(StepSeedHook())
    with pytest.raises(ValueError, match='not for runs with SynthesisHook'):
        runner.train()

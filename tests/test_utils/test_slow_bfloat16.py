# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging

import pytest
import torch
from helpers import build

from csd_mmrazor.engine.optimizers import AutocastOptimWrapper
from csd_mmrazor.utils import slow_bfloat16
from csd_mmrazor.utils.slow_bfloat16 import (
    bfloat16_slowdown,
    warn_of_slow_bfloat16,
)


def test_slowdown():
    """Some positive number, measured once, without random numbers."""
    bfloat16_slowdown.cache_clear()
    before = torch.random.get_rng_state()
    found = bfloat16_slowdown()
    assert 0 < found < float('inf') and found == bfloat16_slowdown()
    assert torch.equal(torch.random.get_rng_state(), before)


def wrapper():
    weight = torch.nn.Parameter(torch.zeros(1))
    return AutocastOptimWrapper(torch.optim.SGD([weight], lr=1))


def synthesizer(amp):
    return build(
        dict(
            type='ImageSynthesizer',
            generator=dict(type='CSDGenerator', img_size=8, latent_dim=8),
            losses=dict(loss_oh=dict(type='OneHotLoss')),
            amp=amp,
        )
    )


@pytest.mark.parametrize(
    'slowdown, has_gpu, make, is_told',
    [
        (12.3, False, wrapper, True),
        (12.3, False, lambda: synthesizer('bfloat16'), True),
        (12.3, False, lambda: synthesizer(None), False),
        (12.3, True, wrapper, False),
        (1.5, False, wrapper, False),
    ],
    ids=['wrapper', 'images', 'float32', 'gpu', 'fast'],
)
def test_it_is_told_once(slowdown, has_gpu, make, is_told, monkeypatch):
    monkeypatch.setattr(slow_bfloat16, 'bfloat16_slowdown', lambda: slowdown)
    monkeypatch.setattr(
        'mmengine.device.utils.DEVICE', 'cuda' if has_gpu else 'cpu'
    )
    told = []

    def note(text, logger, level):
        told.append((text, level))

    monkeypatch.setattr(slow_bfloat16, 'print_log', note)
    warn_of_slow_bfloat16.cache_clear()
    make()
    make()
    warn_of_slow_bfloat16.cache_clear()
    assert len(told) == is_told
    for text, level in told:
        assert text.startswith('this CPU takes 12 times as long')
        assert '--amp none' in text and level == logging.WARNING

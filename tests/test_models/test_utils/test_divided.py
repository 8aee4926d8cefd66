# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Weights that torch holds in parts, given in memory and as files."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from csd_mmrazor.api.networks import copied
from csd_mmrazor.models.utils import about_divided, load_weights


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    'divide, how',
    [
        (
            lambda layer: prune.l1_unstructured(layer, 'weight', 0.5),
            'torch.nn.utils.prune.remove(LAYER, "weight")',
        ),
        (
            nn.utils.weight_norm,
            'torch.nn.utils.remove_weight_norm(LAYER, "weight")',
        ),
        (
            nn.utils.spectral_norm,
            'torch.nn.utils.remove_spectral_norm(LAYER, "weight")',
        ),
        (
            parametrizations.weight_norm,
            'torch.nn.utils.parametrize.remove_parametrizations(LAYER, '
            '"weight")',
        ),
    ],
)
@pytest.mark.filterwarnings('ignore')
def test_how_they_are_put_together(divide, how, tmp_path):
    divided = net()
    assert not about_divided(divided.state_dict())
    divide(divided[2])
    told = about_divided(divided.state_dict())
    assert told.startswith('2.weight is held in parts')
    assert f'{how}, for 2 and each' in told
    path = tmp_path / 'divided.pth'
    torch.save(divided.state_dict(), path)
    with pytest.raises(ValueError, match=r'lacks 1 .* 2.weight is held'):
        load_weights(net(), str(path), '--model')
    if divide is parametrizations.weight_norm:
        copied(divided, 'student')
    else:
        with pytest.raises(ValueError, match='copied: 2.weight is held in'):
            copied(divided, 'student')


@pytest.mark.filterwarnings('ignore')
def test_the_first_of_each_kind():
    divided = net()
    nn.utils.spectral_norm(divided[2])
    nn.utils.weight_norm(divided[0])
    told = about_divided(divided.state_dict())
    assert told.startswith('0.weight and 2.weight are held in parts')
    assert 'remove_weight_norm(LAYER, "weight"), for 0 and' in told
    assert 'remove_spectral_norm(LAYER, "weight"), for 2 and' in told

# Copyright (c) csd_mmrazor developers. All rights reserved.
import sys
from fractions import Fraction
from types import ModuleType

import pytest
import timm
import torch
from helpers import build
from timm.models import _builder, _helpers, _hub

from csd_mmrazor.compat.timm import read_weights_as_data
from csd_mmrazor.utils import CheckpointError

NETWORK = dict(model_name='test_resnet', num_classes=3)


@pytest.fixture(autouse=True)
def no_torch_load(monkeypatch):
    """As timm calls it in many releases, it would run what a file says."""

    def load(*args, **kwargs):
        raise AssertionError('torch.load')

    monkeypatch.setattr(torch, 'load', load)


@pytest.fixture(params=['checkpoint_path', 'file', 'url'])
def made(request, tmp_path, monkeypatch):
    """Makes a network with the weights in a file."""
    path = tmp_path / 'a.pth'
    given = dict(checkpoint_path=str(path))
    if request.param != 'checkpoint_path':
        monkeypatch.setenv('TORCH_HOME', str(tmp_path))
        place = str(path) if request.param == 'file' else path.as_uri()
        given = dict(
            pretrained=True,
            pretrained_cfg_overlay={
                request.param: place,
                'hf_hub_id': None,
                'num_classes': 3,
            },
        )

    def make(content, **part):
        torch.save(content, path)
        found = build(dict(**part, **NETWORK, **given))
        return found.net if hasattr(found, 'net') else found.model

    return make


@pytest.mark.parametrize(
    'part',
    [
        dict(type='TorchClassifier', factory='timm.create_model'),
        dict(type='mmpretrain.TimmClassifier'),
    ],
    ids=lambda part: part['type'],
)
def test_weights_are_read_as_data(made, part):
    network = timm.create_model(**NETWORK)
    weights = network.state_dict()
    found = made(weights, **part).state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


def test_whatever_is_not_data_is_refused(made):
    with pytest.raises(CheckpointError, match='could run any code'):
        made(Fraction(1), type='TorchClassifier', factory='timm.create_model')


def test_modules_that_were_imported_before(monkeypatch):
    for module in (_helpers, _hub):
        monkeypatch.setattr(module, 'torch', torch)
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    read_weights_as_data()
    assert torch not in (_helpers.torch, _hub.torch)
    assert _builder.load_state_dict_from_url is not (
        torch.hub.load_state_dict_from_url
    )


def test_a_stand_in_for_timm(monkeypatch):
    """Tests of others have one, without a spec."""
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    monkeypatch.setitem(sys.modules, 'timm', ModuleType('timm'))
    assert read_weights_as_data()

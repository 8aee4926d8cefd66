# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn as nn
from helpers import build

from csd_mmrazor.models.utils import evaluating, frozen, reset_weights


def test_frozen():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].weight.requires_grad_(False)
    model[1].eval()
    inputs = torch.randn(4, 2, requires_grad=True)
    with frozen(model):
        assert not any(m.training for m in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
        model(inputs).sum().backward()
    assert inputs.grad is not None
    assert all(p.grad is None for p in model.parameters())
    assert [m.training for m in model.modules()] == [True, True, False]
    flags = [p.requires_grad for p in model.parameters()]
    assert flags == [False, True, True, True]


def test_modes_come_back_after_an_error():
    model = nn.Dropout()
    with pytest.raises(KeyError), evaluating(model):
        assert not model.training
        raise KeyError
    assert model.training


def test_reset_weights():
    generator = build(dict(type='CSDGenerator', img_size=8, latent_dim=4))
    for param in generator.parameters():
        nn.init.constant_(param, 7)
    generator.train()(torch.randn(4, 4))
    reset_weights(generator)
    first = [p.detach().clone() for p in generator.parameters()]
    assert all((p != 7).all() for p in first if p.ndim > 1)
    assert generator.linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    norm = generator.layers[0]
    assert not norm.running_mean.any() and (norm.running_var == 1).all()
    reset_weights(generator)
    assert not torch.equal(first[0], generator.linear.weight)
    # Without init_cfg, MMRazor's own generators get torch's weights.
    other = build(
        dict(type='DAFLGenerator', img_size=8, latent_dim=4, hidden_channels=8)
    )
    nn.init.constant_(other.linear.weight, 7)
    reset_weights(other)
    assert other.linear.weight.abs().max() <= 0.5  # 1 / sqrt(4)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import math

import pytest
import torch
from helpers import build

from csd_mmrazor.models import SelfSupervisedAuxHead


def head(**kwargs):
    cfg = dict(type='SelfSupervisedAuxHead', num_classes=5, in_channels=6)
    return build(dict(cfg, **kwargs))


def test_equals_the_formula():
    model, features = head(), torch.randn(8, 6)
    first, _, second = model.layers
    hidden = (features @ first.weight.T + first.bias).clamp(min=0)
    logits = hidden @ second.weight.T + second.bias
    expected = logits / (logits**2).sum(1, keepdim=True).sqrt()
    assert model(features).shape == (8, 20)
    torch.testing.assert_close(model(features), expected)
    scaled = head(scale=10)
    scaled.load_state_dict(model.state_dict())
    torch.testing.assert_close(scaled(features), 10 * expected)
    model.normalize = False
    torch.testing.assert_close(model(features), logits)
    assert torch.equal(model.predict(features), logits.argmax(1))


def test_loss_is_the_cross_entropy_of_joint_labels():
    model, features = head(), torch.randn(8, 6)
    labels = torch.tensor([3, 1])
    logits = model(features).detach().double()
    picked = [
        -math.log(logits[i].exp()[c] / logits[i].exp().sum())
        for i, c in enumerate([12, 13, 14, 15, 4, 5, 6, 7])
    ]
    loss = model.loss(features, labels)['loss_aux']
    assert loss.item() == pytest.approx(sum(picked) / 8, rel=1e-6)


def test_task_and_widths():
    model = head(task=dict(type='RotationPermutationTask'), hidden_channels=9)
    assert model(torch.randn(2, 6)).shape == (2, 120)
    assert model.layers[0].out_features == 9


def test_initial_weights():
    model = head(in_channels=200)
    model.init_weights()
    for layer in (model.layers[0], model.layers[2]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert not layer.bias.any()


@pytest.mark.parametrize('name', ['num_classes', 'in_channels'])
def test_bad_arguments(name):
    with pytest.raises(ValueError, match=f'{name} .* but got 0'):
        SelfSupervisedAuxHead(
            **{**dict(num_classes=2, in_channels=2), name: 0}
        )


@pytest.mark.parametrize('scale', [0, -1.0, math.inf, math.nan, '10', True])
def test_bad_scale(scale):
    with pytest.raises(ValueError, match='scale of .* but got'):
        head(scale=scale)


def test_scale_is_of_normalised_logits():
    with pytest.raises(ValueError, match='scale=10 .* normalize=True'):
        head(scale=10, normalize=False)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn as nn
from helpers import build, network

from csd_mmrazor.models.utils import (
    as_map,
    bn_layers,
    layer_means,
    pooled_features,
    recorded_outputs,
    submodule,
)


def test_default_is_what_the_last_layer_sees():
    model, inputs = build(network()).eval(), torch.randn(3, 1, 8, 8)
    features = pooled_features(model, inputs)
    assert features.shape == (3, 8)
    torch.testing.assert_close(
        model.head.fc(features), model(inputs, mode='tensor')
    )


@pytest.mark.parametrize(
    'source, width', [('backbone', 8), ('backbone.layer1', 4), ('neck', 8)]
)
def test_any_module(source, width):
    model, inputs = build(network()).eval(), torch.randn(3, 1, 8, 8)
    features = pooled_features(model, inputs, source)
    assert features.shape == (3, width)
    if source == 'backbone.layer1':
        with recorded_outputs(model.backbone.layer1) as outputs:
            model(inputs, mode='tensor')
        torch.testing.assert_close(features, outputs[0].mean((2, 3)))
    assert not any(m._forward_hooks for m in model.modules())


def test_tokens_are_averaged():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Flatten(2)

        def forward(self, inputs, mode):
            return self.tokens(inputs)

    inputs = torch.randn(2, 5, 2, 3)
    features = pooled_features(Model(), inputs, 'tokens')
    torch.testing.assert_close(features, inputs.flatten(2).mean(1))


def test_unknown_names_are_told_with_those_there_are():
    model = build(network())
    with pytest.raises(ValueError, match='Did you mean backbone.layer1') as e:
        submodule(model, 'backbone.layr1')
    assert 'head.fc' in str(e.value)
    with pytest.raises(ValueError, match='has no extract_feat.*aux_feature'):
        pooled_features(nn.Sequential(nn.ReLU()), torch.zeros(1))


def test_any_output_as_a_map():
    maps = torch.randn(2, 5, 3, 3)
    assert as_map((torch.zeros(1), maps)) is maps
    tokens = maps.flatten(2).transpose(1, 2)  # (N, L, D), row by row
    torch.testing.assert_close(as_map(tokens), maps)
    with_class = torch.cat([torch.randn(2, 1, 5), tokens], 1)
    torch.testing.assert_close(as_map([with_class]), maps)
    vector = torch.randn(2, 5)
    assert torch.equal(as_map(vector), vector.view(2, 5, 1, 1))


def test_tokens_of_images_that_are_not_square():
    """They make a square by chance, with rows of others."""
    tokens = torch.randn(2, 81, 5)
    assert as_map(tokens, (144, 144)).shape == (2, 5, 9, 9)
    with pytest.raises(
        ValueError,
        match='2, 81, 5.* of images of 128x160.*rs.feature=None',
    ):
        as_map(tokens, (128, 160))
    maps = torch.randn(2, 5, 8, 10)
    assert as_map(maps, (128, 160)) is maps


@pytest.mark.parametrize('shape', [(2,), (2, 8, 5), (2, 3, 4, 5, 6)])
def test_what_is_no_map(shape):
    with pytest.raises(ValueError, match=f'got .{shape[0]},.*recorder'):
        as_map(torch.zeros(shape))


def test_layer_means_are_of_what_bn_layers_see():
    model = build(network()).eval()
    inputs = torch.randn(3, 1, 8, 8)
    seen = []
    handles = [
        layer.register_forward_hook(lambda _, args, out: seen.append(args[0]))
        for layer in bn_layers(model)
    ]
    with layer_means(model) as means:
        model(inputs, mode='tensor')
    for handle in handles:
        handle.remove()
    assert len(means) == len(seen) == len(bn_layers(model))
    for mean, maps in zip(means, seen):
        torch.testing.assert_close(mean, maps.mean((2, 3)))
    assert not any(m._forward_pre_hooks for m in model.modules())

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from helpers import build
from mmengine.model.weight_init import initialize

from csd_mmrazor.models import CSDGenerator
from csd_mmrazor.models.generators.csd_generator import num_upsamples


@pytest.mark.parametrize(
    'img_size, stages',
    [
        *((1, 2), (4, 2), (8, 2), (28, 2), (32, 2), (36, 2), (48, 3)),
        *((64, 3), (65, 3), (100, 3), (128, 4), (224, 5), (250, 4), (256, 5)),
    ],
)
def test_stages(img_size, stages):
    assert num_upsamples(img_size) == stages


@pytest.mark.parametrize(
    'img_size',
    [
        4,
        12,
        28,
        64,
        100,
        9,
        30,
        33,
        61,
        (32, 64),
        (64, 32),
        (8, 256),
        (27, 45),
    ],
)
@pytest.mark.parametrize('channels', [1, 3, 5])
def test_any_size_and_any_channels(img_size, channels):
    generator = build(
        dict(
            type='CSDGenerator',
            img_size=img_size,
            latent_dim=8,
            hidden_channels=4,
            channels=channels,
        )
    )
    images = generator(torch.randn(3, 8))
    height, width = (
        img_size if isinstance(img_size, tuple) else (img_size, img_size)
    )
    assert images.shape == (3, channels, height, width)
    assert images.min() >= 0 and images.max() <= 1
    assert generator(None, batch_size=2).shape[0] == 2


def test_no_size_has_many_weights():
    """As many as the paper's per number of the first map, or fewer maps."""
    for size in range(8, 257):
        with torch.device('meta'):
            generator = CSDGenerator(size)
        assert max(generator.init_size) <= 16
        weights = sum(p.numel() for p in generator.parameters())
        assert weights < 10e6, size


def test_odd_sizes_are_cut_out_of_the_middle():
    generator = CSDGenerator((6, 9), latent_dim=6, hidden_channels=4).eval()
    latent = torch.randn(2, 6)
    maps = generator.linear(latent).view(2, 8, *generator.init_size)
    whole = generator.layers(maps)
    assert whole.shape == (2, 3, 8, 12)
    torch.testing.assert_close(generator(latent), whole[:, :, 1:7, 1:10])


@pytest.mark.parametrize('shape', [(1, 28, 28), (3, 32, 64), (3, 32, 32)])
def test_fits_the_algorithms_shape_where_none_is_given(shape):
    state = torch.get_rng_state()
    generator = CSDGenerator(latent_dim=6, hidden_channels=4)
    # What is drawn afterwards is what it was where both were given.
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    CSDGenerator(32, latent_dim=6, hidden_channels=4, channels=3)
    assert torch.equal(torch.get_rng_state(), after)
    generator.fit(shape)
    assert torch.equal(torch.get_rng_state(), after)
    assert generator(None, 2).shape == (2, *shape)
    given = CSDGenerator(8, 6, 4, channels=2)
    given.fit(shape)
    assert given(None, 2).shape == (2, 2, 8, 8)


def test_equals_the_formula():
    """Linear - BN - (up - conv - BN - LeakyReLU) x 2 - conv - sigmoid."""
    generator = CSDGenerator(32, latent_dim=6, hidden_channels=4)
    initialize(generator, generator.init_cfg)
    latent = torch.randn(5, 6)

    def norm(x, layer):
        mean = x.mean((0, 2, 3), keepdim=True)
        var = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        x = (x - mean) / (var + 1e-5).sqrt()
        return x * layer.weight[:, None, None] + layer.bias[:, None, None]

    layers = list(generator.layers)
    x = latent @ generator.linear.weight.T + generator.linear.bias
    x = norm(x.reshape(5, 8, 8, 8), layers[0])
    for conv, bn in ((layers[2], layers[3]), (layers[6], layers[7])):
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = norm(F.conv2d(x, conv.weight, padding=1), bn)
        x = torch.where(x > 0, x, 0.2 * x)
    x = F.conv2d(x, layers[9].weight, layers[9].bias, padding=1)
    expected = 1 / (1 + (-x).exp())
    torch.testing.assert_close(generator(latent), expected)


def test_initial_weights():
    generator = CSDGenerator(32)
    initialize(generator, generator.init_cfg)
    for module in generator.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert abs(module.weight.mean()) < 0.002
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02)
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.5)
            assert not module.bias.any()


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(img_size=(8, 8, 8)), r'\(height, width\), but got \(8, 8, 8'),
        (dict(img_size=(8, 0)), 'width .* positive integer, but got 0'),
        (dict(img_size=0), 'img_size .* positive integer, but got 0'),
        (dict(img_size=32.0), 'img_size .* positive integer, but got 32.0'),
        (dict(img_size=32, channels=0), 'channels .* but got 0'),
        (dict(img_size=32, latent_dim=-1), 'latent_dim .* but got -1'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CSDGenerator(**kwargs)

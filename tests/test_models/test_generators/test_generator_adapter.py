# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from conftest import build

DAFL = dict(type='DAFLGenerator', img_size=8, latent_dim=6, hidden_channels=4)
CSD = dict(type='CSDGenerator', img_size=8, latent_dim=6, hidden_channels=4)
STATISTICS = dict(mean=[25.5, 51, 102], std=[51, 102, 51])


def as_maps(values):
    return torch.tensor(values).view(3, 1, 1)


def test_inputs_become_images():
    adapter = build(
        dict(
            type='GeneratorAdapter', generator=DAFL, to='images', **STATISTICS
        )
    )
    latent = torch.randn(5, 6)
    inputs = adapter.generator(latent)
    pixels = inputs * as_maps([0.2, 0.4, 0.2]) + as_maps([0.1, 0.2, 0.4])
    torch.testing.assert_close(adapter(latent), pixels.clamp(0, 1))
    assert pixels.min() < 0  # some are clipped
    assert adapter.latent_dim == 6


def test_images_become_inputs():
    adapter = build(
        dict(type='GeneratorAdapter', generator=CSD, to='inputs', **STATISTICS)
    )
    latent = torch.randn(5, 6)
    images = adapter.generator(latent)
    expected = (images - as_maps([0.1, 0.2, 0.4])) / as_maps([0.2, 0.4, 0.2])
    torch.testing.assert_close(adapter(latent), expected)


def test_channels_are_cut():
    adapter = build(dict(type='GeneratorAdapter', generator=DAFL, channels=1))
    latent = torch.randn(5, 6)
    expected = adapter.generator(latent)[:, :1]
    assert torch.equal(adapter(latent), expected)
    assert adapter(None, 3).shape == (3, 1, 8, 8)


def test_bad_arguments():
    with pytest.raises(ValueError, match="to of GeneratorAdapter .*'pixels'"):
        build(dict(type='GeneratorAdapter', generator=DAFL, to='pixels'))

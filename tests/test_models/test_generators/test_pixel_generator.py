# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from helpers import build

from csd_mmrazor.models import PixelGenerator


def test_latents_are_the_normalised_pixels():
    generator = PixelGenerator(4, 2, mean=[51, 102], std=[25.5, 51]).eval()
    assert generator.latent_dim == 32
    latent = torch.randn(3, 32)
    images = generator(latent)
    pixels = latent.view(3, 2, 4, 4)
    for channel, (mean, std) in enumerate(((0.2, 0.1), (0.4, 0.2))):
        expected = (mean + std * pixels[:, channel]).clamp(0, 1)
        torch.testing.assert_close(images[:, channel], expected)
    assert generator(None, 5).shape == (5, 2, 4, 4)
    assert not list(generator.parameters())


def test_pixels_are_not_clipped_while_they_are_optimised():
    generator = PixelGenerator(2, 1, mean=127.5, std=255)
    latent = torch.tensor([[-3.0, 0.0, 0.2, 3.0]], requires_grad=True)
    images = generator(latent)
    assert images.flatten().tolist() == pytest.approx([-2.5, 0.5, 0.7, 3.5])
    images.sum().backward()
    assert latent.grad.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize('clip', [False, True])
def test_latents_are_brought_back_after_a_step(clip):
    generator = PixelGenerator(1, 2, mean=[51, 102], std=[25.5, 51], clip=clip)
    latent = torch.tensor([[-3.0, -3.0], [0.5, 9.0]], requires_grad=True)
    generator.after_step(latent)
    # (0 - 0.2) / 0.1, (0 - 0.4) / 0.2, and (1 - 0.4) / 0.2
    expected = [[-2, -2], [0.5, 3]] if clip else [[-3, -3], [0.5, 9]]
    assert latent.tolist() == [pytest.approx(row) for row in expected]


def test_numbers_are_for_the_channels_of_the_images():
    """Which may be those of the networks."""
    made = build(dict(type='PixelGenerator', mean=[1.0, 2.0, 3.0, 4.0]))
    made.fit((4, 2, 2))
    assert made(batch_size=2).shape == (2, 4, 2, 2)
    with pytest.raises(ValueError, match='mean .* each of 1 channels.* got 4'):
        made.fit((1, 2, 2))


def test_bad_arguments():
    with pytest.raises(ValueError, match='img_size of PixelGenerator .* 0.'):
        build(dict(type='PixelGenerator', img_size=0))
    with pytest.raises(ValueError, match='std .* each of 3 channels.* got 2'):
        build(dict(type='PixelGenerator', channels=3, std=[1.0, 2.0]))

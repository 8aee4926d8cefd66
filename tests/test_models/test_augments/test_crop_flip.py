# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from helpers import build

from csd_mmrazor.models import RandomCropFlip
from csd_mmrazor.models.augments.crop_flip import crop_flip


def one_by_one(images, tops, lefts, flips, padding):
    """The same by a loop over images and slices."""
    num, channels, height, width = images.shape
    out = []
    for image, top, left, flip in zip(images, tops, lefts, flips):
        padded = image.new_zeros(
            channels, height + 2 * padding, width + 2 * padding
        )
        padded[:, padding : padding + height, padding : padding + width] = (
            image
        )
        crop = padded[:, top : top + height, left : left + width]
        out.append(crop.flip(2) if flip else crop)
    return torch.stack(out)


def draws(num, padding):
    return (
        torch.randint(2 * padding + 1, (num,)),
        torch.randint(2 * padding + 1, (num,)),
        torch.rand(num) < 0.5,
    )


@pytest.mark.parametrize('dtype', [torch.float32, torch.uint8])
@pytest.mark.parametrize('shape', [(64, 3, 8, 8), (64, 1, 6, 10)])
def test_equals_a_loop(shape, dtype):
    images = torch.randint(256, shape).to(dtype)
    args = (*draws(64, 3), 3)
    result = crop_flip(images, *args)
    assert result.dtype == dtype
    assert torch.equal(result, one_by_one(images, *args))


def test_gradient():
    images = torch.rand(6, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    args = (*draws(6, 2), 2)
    assert torch.autograd.gradcheck(
        lambda x: crop_flip(x, *args) ** 2, (images,)
    )


def test_draws_are_per_image_and_cover_everything():
    augment = build(dict(type='RandomCropFlip', padding=2))
    image = torch.arange(1, 26, dtype=torch.float32).view(1, 1, 5, 5)
    results = augment(image.expand(4000, -1, -1, -1))
    kinds, counts = results.flatten(1).unique(dim=0, return_counts=True)
    assert len(kinds) == 5 * 5 * 2
    # Each of 50 kinds is expected 80 times; 5 standard deviations are 44.
    assert counts.min() > 36 and counts.max() < 124


def test_off():
    images = torch.rand(8, 3, 5, 5)
    assert torch.equal(RandomCropFlip(0, 0)(images), images)
    assert torch.equal(RandomCropFlip(0, 1)(images), images.flip(3))


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(padding=-1), 'padding .* but got -1'),
        (dict(padding=1.5), 'padding .* but got 1.5'),
        (dict(flip_prob=1.1), 'flip_prob .* but got 1.1'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RandomCropFlip(**kwargs)


@pytest.mark.parametrize('padding, flip_prob', [(0, 1), (2, 0), (127, 0.5)])
def test_draws_are_replayed(padding, flip_prob):
    augment = build(
        dict(type='RandomCropFlip', padding=padding, flip_prob=flip_prob)
    )
    images = torch.randint(1, 256, (40, 1, 5, 6), dtype=torch.uint8)
    torch.manual_seed(7)
    expected = augment(images)
    torch.manual_seed(7)
    kept = augment.draws(40)
    assert kept.shape == (40, 3) and kept.dtype == torch.uint8
    for _ in range(2):
        assert torch.equal(augment.replay(images, kept), expected)
    assert {*kept[:, 2].tolist()} <= {0, 1}
    if padding > 100:
        assert kept[:, :2].max() > 200

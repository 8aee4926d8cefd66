# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from helpers import build
from torchvision.transforms.functional import resized_crop as by_torchvision

from csd_mmrazor.models.augments.resized_crop import (
    RandomResizedCropFlip,
    resized_crop,
)


def test_equals_torchvision():
    """Boxes of whole pixels, inside the image, cut and scaled by both."""
    images = torch.rand(3, 2, 12, 12)
    boxes = ((0, 0, 12, 12), (2, 1, 6, 6), (3, 4, 4, 8))  # top left h w
    centers = torch.tensor(
        [[(2 * x + w) / 12 - 1, (2 * y + h) / 12 - 1] for y, x, h, w in boxes]
    )
    sizes = torch.tensor([[w / 12, h / 12] for _, _, h, w in boxes])
    flips = torch.tensor([False, False, True])
    ours = resized_crop(images, centers, sizes, flips)
    for index, (y, x, h, w) in enumerate(boxes):
        theirs = by_torchvision(
            images[index], y, x, h, w, [12, 12], antialias=False
        )
        if flips[index]:
            theirs = theirs.flip(-1)
        # At a box's edge torchvision repeats its last pixel; here the image
        # goes on.
        inner = slice(2, -2)
        torch.testing.assert_close(
            ours[index, :, inner, inner], theirs[:, inner, inner]
        )


def test_gradient_by_finite_differences():
    images = torch.rand(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    box = torch.tensor([[0.1, -0.2]] * 2), torch.tensor([[0.6, 0.7]] * 2)
    flips = torch.tensor([True, False])
    assert torch.autograd.gradcheck(
        lambda x: resized_crop(x, *(b.double() for b in box), flips), (images,)
    )


def test_the_ratio_is_of_pixels():
    """On images that are wider than high, too."""
    augment = RandomResizedCropFlip(scale=(0.2, 0.2), ratio=(1, 1))
    sizes = augment._draw(5, 12 / 24, torch.device('cpu'))[1]
    torch.testing.assert_close(24 * sizes[:, 0], 12 * sizes[:, 1])
    torch.testing.assert_close(sizes.prod(1), torch.full((5,), 0.2))
    ramp = torch.linspace(0, 1, 24).expand(9, 1, 12, 24)
    views = augment(ramp)
    widths = (views[..., -1] - views[..., 0]).mean((1, 2)).abs()
    # 7.6 of 24 pixels, less the half ones at both ends.
    assert widths.min() > 0.27 and widths.max() < 0.34


@pytest.mark.parametrize('shape, least', [(1, 0.866), (2, 1), (0.5, 1)])
def test_boxes_beyond_a_square_image_are_cut(shape, least):
    """As the docstring says; other boxes have the area that is drawn."""
    device = torch.device('cpu')
    sizes = RandomResizedCropFlip(scale=(1, 1))._draw(999, shape, device)[1]
    area = sizes.prod(1)
    assert least - 1e-3 < area.min() < least + 1e-2 and area.max() < 1 + 1e-6
    sizes = RandomResizedCropFlip(scale=(0.7, 0.7))._draw(9, shape, device)[1]
    torch.testing.assert_close(sizes.prod(1), torch.full((9,), 0.7))


def test_boxes_stay_inside():
    torch.manual_seed(0)
    augment = RandomResizedCropFlip(scale=(0.25, 1), flip_prob=0.5)
    # A ramp: what leaves it would be constant.
    ramp = torch.linspace(0, 1, 16).expand(500, 1, 16, 16)
    views = augment(ramp)
    assert views.shape == ramp.shape
    widths = (views[..., -1] - views[..., 0]).mean((1, 2)).abs()
    assert 0.35 < widths.min() < 0.5 and widths.max() > 0.95
    rising = (views[..., -1] > views[..., 0]).all(-1).float().mean()
    assert 0.4 < rising < 0.6
    whole = RandomResizedCropFlip(scale=(1, 1), ratio=(1, 1), flip_prob=0)
    torch.testing.assert_close(whole(ramp), ramp)
    levels = torch.full((2, 3, 4, 4), 51, dtype=torch.uint8)
    torch.testing.assert_close(augment(levels), torch.full((2, 3, 4, 4), 0.2))


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(scale=(0, 1)), 'scale of Random.* but got .0, 1.'),
        (dict(scale=(0.9, 0.5)), 'scale .* the least first'),
        (dict(ratio=(2, 1)), 'ratio .* the least first'),
        (dict(flip_prob=2), 'flip_prob .* but got 2'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(dict(type='RandomResizedCropFlip', **kwargs))

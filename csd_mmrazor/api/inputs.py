# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the networks get: the shape of their images, and their scale."""

from math import isfinite
from typing import Any, NamedTuple, Sequence, Tuple, Union

import torch
import torch.nn as nn
from mmengine.config import Config
from torch import Tensor

from ..models.preprocessors import calls, own_preprocessor
from ..models.utils import unwrapped
from ..utils.arguments import check_image_shape

# Mean of ImageNet's pictures in the order that OpenCV has, which mmpretrain's
# RegNets take.
_BGR = torch.tensor((103.53, 116.28, 123.675))


class Inputs(NamedTuple):
    """What the networks get."""

    image_shape: Tuple[int, int, int]  # (C, H, W)
    mean: Tuple[float, ...]  # 0..255
    std: Tuple[float, ...]  # 0..255
    note: str  # how they were understood

    def random(self, number: int, generator: torch.Generator) -> Tensor:
        """Those of random images, (``number``, C, H, W)."""
        images = torch.rand(number, *self.image_shape, generator=generator)
        mean, std = (
            torch.tensor(each).view(-1, 1, 1) for each in (self.mean, self.std)
        )
        return (255 * images - mean) / std


def normalisation(
    mean: Union[None, str, float, Sequence[float]],
    std: Union[None, str, float, Sequence[float]],
    image_shape: Sequence[int],
) -> Inputs:
    """Tell what mean and std refer to.

    Args:
        mean (sequence[float] | float | str | None): Of the teacher's training
            images, in 0..1 or in 0..255; None or 'inside' if the networks
            take images in 0..1 and normalise them themselves.
        std (sequence[float] | float | str | None): Likewise.
        image_shape (sequence[int]): (C, H, W).

    Raises:
        ValueError: If one is given without the other, their number is wrong,
            they cannot be those of images, or refer to different scales.
    """
    shape = image_shape_of(image_shape)
    # Arrays compare to an array.
    is_inside = [
        value is None or (isinstance(value, str) and value == 'inside')
        for value in (mean, std)
    ]
    if is_inside[0] != is_inside[1]:
        raise ValueError(
            f'mean={mean!r} and std={std!r}: give both, or none where the '
            'networks take images in 0..1.'
        )
    if is_inside[0]:
        return Inputs(
            shape, (0.0,), (255.0,), 'images in 0..1, as no mean is given'
        )
    means, stds = (
        _numbers(name, value, shape[0])
        for name, value in (('mean', mean), ('std', std))
    )
    if not all(value > 0 for value in stds):
        raise ValueError(f'std should be above 0, but got {std!r}.')
    largest = max(map(abs, means))
    if largest <= 1 and max(stds) <= 1.5:
        if not largest and {*stds} == {1.0}:
            # In configs, where they refer to 0..255, the same numbers mean
            # that images stay in that range.
            note = (
                'images in 0..1, as mean=0 and std=1 say; for networks that '
                'take them in 0..255, give std=1/255'
            )
        elif max(means) < 0 or min(means) < 0:
            note = 'normalised; mean and std refer to images in 0..1'
        else:
            note = 'normalised; mean and std are of images in 0..1'
        means, stds = (
            tuple(255 * v for v in values) for values in (means, stds)
        )
    elif (largest > 1 and max(stds) < 1) or (
        largest <= 1 and max(stds) > 1.5 and any(means)
    ):
        raise ValueError(
            f'mean={list(means)} and std={list(stds)} refer to different '
            'scales: one of them is of images in 0..1 and the other of images '
            'in 0..255.'
        )
    else:
        note = 'normalised; mean and std are of images in 0..255'
    if not 0.99 <= min(stds) <= max(stds) <= 400:
        raise ValueError(
            f'std={std!r} cannot be right: it should be within 0.004..1.5 '
            'for images in 0..1, or within 1..400 for images in 0..255.'
        )
    if max(map(abs, means)) > 255:
        raise ValueError(
            f'mean={mean!r} cannot be right: it should be of images in 0..1 '
            'or in 0..255.'
        )
    return Inputs(shape, means, stds, note)


def check_own_inputs(teacher: nn.Module, inputs: Inputs) -> None:
    """Check mean and std that a teacher of MMEngine's kind has itself.

    Args:
        teacher (nn.Module): As the caller has it.
        inputs (Inputs): What a run would give it.

    Raises:
        ValueError: If they are others, or of images in BGR.
    """
    network = unwrapped(teacher)
    own = own_preprocessor(network)
    if own is None:
        return
    if _takes_bgr(network, own):
        raise ValueError(
            f'The teacher ({type(teacher).__name__}) takes images in BGR, '
            'as OpenCV reads them (its data_preprocessor has to_rgb=False), '
            'but a run, and all that it leaves, has them in RGB. Reverse the '
            'channels of its first layer, by weight.data = '
            'weight.data.flip(1), and of its data_preprocessor, by p.mean, '
            'p.std, p.to_rgb = p.mean.flip(0), p.std.flip(0), True, and give '
            'mean and std in that order.'
        )
    channels = inputs.image_shape[0]
    its, ours = (
        [torch.as_tensor(v).flatten().cpu() for v in each]
        for each in ((own.mean, own.std), (inputs.mean, inputs.std))
    )
    pixels = torch.tensor([[0.0], [255.0]]).expand(2, channels)
    fits = all(len(values) in (1, channels) for values in its)
    # Published means and deviations are rounded.
    if fits and torch.allclose(
        *((pixels - mean) / std for mean, std in (its, ours)),
        rtol=0.02,
        atol=0.02,
    ):
        return
    if calls(teacher, own, torch.zeros(2, *inputs.image_shape)):
        return  # so ours are of what it gets
    wanted, given = (
        ' and '.join(
            f'{name}={[round(v / 255, 4) for v in values.tolist()]}'
            for name, values in zip(('mean', 'std'), each)
        )
        for each in (its, ours)
    )
    raise ValueError(
        f'The data_preprocessor of the teacher ({type(teacher).__name__}) '
        f'normalises images in 0..1 by {wanted}, but the run, which does not '
        f'call it, would by {given}. Give mean and std as the teacher has '
        'them; if they are wrong there, correct them first.'
    )


def _takes_bgr(network: nn.Module, own: nn.Module) -> bool:
    """Whether a network of MMEngine's kind takes what OpenCV reads.

    Those without ``to_rgb`` take their images as they come, which are in RGB
    if they come from no files, as those of CIFAR-10.
    """
    if any(
        getattr(own, name, False) for name in ('to_rgb', '_channel_conversion')
    ):
        return False
    mean: Any = own.mean
    mean = mean.flatten().cpu().float()
    if mean.shape != _BGR.shape:
        return False
    if torch.allclose(mean, _BGR, atol=1):
        return True
    # What mmpretrain.get_model() leaves.
    cfg = getattr(network, '_config', None)
    if not isinstance(cfg, Config):
        return False
    data = (cfg.get('test_dataloader') or {}).get('dataset') or {}
    steps = data.get('pipeline') or ()
    return any(
        str(step.get('type')).endswith('LoadImageFromFile') for step in steps
    ) and not any(step.get('to_rgb') for step in steps)


def image_shape_of(image_shape: Any) -> Tuple[int, int, int]:
    """Check (C, H, W).

    Raises:
        ValueError: If it is no such shape.
    """
    try:
        shape = tuple(int(v) for v in image_shape)
        fits = len(shape) == 3 and shape == tuple(image_shape)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits or not 1 <= shape[0] <= 64 or min(shape[1:]) < 4:
        raise ValueError(
            'image_shape should be (channels, height, width), such as '
            f'(3, 32, 32), but got {image_shape!r}.'
        )
    check_image_shape('image_shape', shape)
    return shape


def _numbers(name: str, given: Any, channels: int) -> Tuple[float, ...]:
    values = given if isinstance(given, (list, tuple)) else [given]
    if hasattr(given, 'tolist'):
        values = given.tolist()
        values = values if isinstance(values, list) else [values]
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) not in (1, channels) or not all(map(isfinite, found)):
        raise ValueError(
            f'{name} should be one number'
            + f' or {channels}, one for each channel' * (channels > 1)
            + ", or 'inside' where networks normalise images themselves"
            * isinstance(given, str)
            + f', but got {given!r}.'
        )
    return found

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, Optional, Sequence

import torch
import torch.nn as nn
from mmengine.model import BaseModule
from mmrazor.registry import MODELS
from torch import Tensor

from ..preprocessors import normalize_images


def makes(generator: nn.Module) -> Optional[str]:
    """What a generator makes.

    Args:
        generator (nn.Module): Any.

    Returns:
        str | None: 'images' in [0, 1], 'inputs' of networks, as MMRazor's
        own, or None if it does not say.
    """
    is_mmrazor = type(generator).__module__.startswith('mmrazor.')
    return getattr(generator, 'makes', 'inputs' if is_mmrazor else None)


def check_makes_inputs(generator: nn.Module, preprocessor: nn.Module) -> None:
    """Check a generator whose images go to networks as they are.

    Args:
        generator (nn.Module): Of ``DataFreeDistillation`` or another.
        preprocessor (nn.Module): What prepares real images for the networks.

    Raises:
        ValueError: If its images would need to be normalised, or are
            normalised otherwise than real ones; names ``GeneratorAdapter``.
    """
    images = torch.linspace(0, 1, 8).view(8, 1, 1, 1)
    if makes(generator) == 'images':
        made, what = (
            images,
            f'{type(generator).__name__} makes images in [0, 1]',
        )
    elif isinstance(generator, GeneratorAdapter) and (
        generator.to_what == 'inputs'
    ):
        made = (images - generator.mean) / generator.std
        what = (
            'GeneratorAdapter normalises by '
            f'mean={(generator.mean * 255).flatten().tolist()} and '
            f'std={(generator.std * 255).flatten().tolist()}'
        )
    else:
        return
    wanted = normalize_images(images, preprocessor)
    made, wanted = torch.broadcast_tensors(made, wanted)
    if torch.allclose(made, wanted, rtol=0.02, atol=0.02):
        return
    statistics = ''
    if getattr(preprocessor, '_enable_normalize', False):
        statistics = (
            f', mean={preprocessor.mean.flatten().tolist()}, '
            f'std={preprocessor.std.flatten().tolist()}'
        )
    elif makes(generator) == 'inputs':
        return  # where no real images are, nobody says what inputs are
    raise ValueError(
        f'{what}, but MMRazor gives the networks what model.generator returns '
        'as their inputs, which real images become by data_preprocessor='
        f'{type(preprocessor).__name__}. Set model.generator=dict(type='
        f'"mmrazor.GeneratorAdapter", to="inputs"{statistics}, '
        'generator=dict(...)) with the mean and std of the networks.'
    )


# What rounds ask generators for that have more to them than a forward().
_PASSED_ON = (
    *('latents_of', 'trains_latents', 'renew', 'after_step'),
    *('check_classes', 'reset_first_layer'),
)


@MODELS.register_module()
class GeneratorAdapter(BaseModule):
    """Lets a generator serve where its kind of images is not wanted.

    MMRazor's DAFL, ZSKT and DFAD feed the networks with what their generators
    return, so these return *inputs*, normalised. ``ImageSynthesizer`` wants
    *images* in [0, 1], and normalises them itself. ``CSDGenerator`` returns
    images.

    Args:
        generator (dict): The generator.
        to (str): What is wanted of it: 'images' of one that returns inputs,
            'inputs' of one that returns images, or 'same'.
        mean (sequence[float] | float): Of the networks' inputs, each channel
            or all, 0..255. Defaults to 0.
        std (sequence[float] | float): Likewise. Defaults to 255.
        channels (int, optional): Channels wanted, the first ones of the
            generator's. MMRazor's generators always make three. Defaults to
            None, all.
    """

    def __init__(
        self,
        generator: Dict,
        to: str = 'same',
        mean: Sequence[float] = 0.0,
        std: Sequence[float] = 255.0,
        channels: Optional[int] = None,
    ) -> None:
        super().__init__()
        if to not in ('images', 'inputs', 'same'):
            raise ValueError(
                'to of GeneratorAdapter should be "images", "inputs" or '
                f'"same", but got {to!r}.'
            )
        self.generator = MODELS.build(generator)
        if makes(self.generator) == to:
            raise ValueError(
                f'to="{to}" of GeneratorAdapter: '
                f'{type(self.generator).__name__} makes {to} itself. Leave '
                'the adapter out, or set to="same".'
            )
        self.to_what = to
        self.channels = channels
        for name, value in dict(mean=mean, std=std).items():
            value = torch.tensor(value, dtype=torch.float32).flatten() / 255
            self.register_buffer(name, value.view(-1, 1, 1), persistent=False)

    def __getattr__(self, name: str) -> Any:
        """What only some generators have, of the generator in it."""
        if name in _PASSED_ON:
            return getattr(self.generator, name)
        return super().__getattr__(name)

    def init_weights(self) -> None:
        """As the generator does."""
        if hasattr(self.generator, 'init_weights'):
            self.generator.init_weights()

    @property
    def makes(self) -> Optional[str]:
        """'images', 'inputs' or None, as :func:`makes` has it."""
        return (
            makes(self.generator) if self.to_what == 'same' else self.to_what
        )

    @property
    def latent_dim(self) -> int:
        """Width of the latent."""
        return self.generator.latent_dim

    def fit(self, image_shape: Sequence[int]) -> None:
        """Let the generator fit its shape, if it can, to (C, H, W)."""
        if hasattr(self.generator, 'fit'):
            self.generator.fit(image_shape)

    def forward(
        self, data: Optional[Tensor] = None, batch_size: int = 1
    ) -> Tensor:
        """As the generator's own, (N, channels, H, W)."""
        made = self.generator(data, batch_size)[:, : self.channels]
        if self.to_what == 'inputs':
            return (made - self.mean) / self.std
        if self.to_what == 'images':
            pixels = made * self.std + self.mean
            # Clipped, but for the gradient.
            return pixels + (pixels.clamp(0, 1) - pixels).detach()
        return made

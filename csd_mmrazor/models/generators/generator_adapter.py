# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, Optional, Sequence

import torch
from mmengine.model import BaseModule
from mmrazor.registry import MODELS
from torch import Tensor


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
        self.to_what = to
        self.channels = channels
        for name, value in dict(mean=mean, std=std).items():
            value = torch.tensor(value, dtype=torch.float32).flatten() / 255
            self.register_buffer(name, value.view(-1, 1, 1), persistent=False)

    @property
    def latent_dim(self) -> int:
        """Width of the latent."""
        return self.generator.latent_dim

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

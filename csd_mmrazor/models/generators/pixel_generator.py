# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Optional, Sequence

import torch
import torch.nn as nn
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer


@MODELS.register_module()
class PixelGenerator(nn.Module):
    """No network: the latents are the pixels.

    With it, ``ImageSynthesizer`` optimises pixels directly, as DeepInversion
    does (Yin et al., CVPR 2020, section 3.1). Latents, drawn from N(0, 1),
    are the normalised images; pixels outside 0..255 are clipped, and
    gradients pass as if they were not, which is projected descent but for
    the state that Adam keeps.

    Args:
        img_size (int): Height and width of the images.
        channels (int): Channels of the images. Defaults to 3.
        mean (sequence[float] | float): Of the teacher's training images, each
            channel or all, 0..255. Defaults to 127.5.
        std (sequence[float] | float): Likewise. Defaults to 64.
    """

    makes = 'images'

    def __init__(
        self,
        img_size: int,
        channels: int = 3,
        mean: Sequence[float] = 127.5,
        std: Sequence[float] = 64.0,
    ) -> None:
        super().__init__()
        for name, value in dict(img_size=img_size, channels=channels).items():
            check_integer(f'{name} of PixelGenerator', value)
        self.image_shape = (channels, img_size, img_size)
        self.latent_dim = channels * img_size * img_size
        for name, value in dict(mean=mean, std=std).items():
            value = torch.tensor(value, dtype=torch.float32).flatten() / 255
            if len(value) not in (1, channels):
                raise ValueError(
                    f'{name} of PixelGenerator should be one number or one '
                    f'for each of {channels} channels, but got '
                    f'{len(value)}.'
                )
            self.register_buffer(name, value.view(-1, 1, 1))

    def forward(
        self, data: Optional[Tensor] = None, batch_size: int = 1
    ) -> Tensor:
        """Make images.

        Args:
            data (Tensor, optional): Latents, (N, latent_dim). Drawn from
                N(0, 1) if None.
            batch_size (int): How many to draw if ``data`` is None.

        Returns:
            Tensor: Images in [0, 1], (N, channels, img_size, img_size).
        """
        if data is None:
            data = torch.randn(
                batch_size, self.latent_dim, device=self.mean.device
            )
        pixels = data.view(-1, *self.image_shape) * self.std + self.mean
        return pixels + (pixels.clamp(0, 1) - pixels).detach()

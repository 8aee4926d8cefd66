# Copyright (c) csd_mmrazor developers. All rights reserved.
import math
from typing import Optional, Sequence, Union

import torch
import torch.nn as nn
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer
from .shapes import fitted_shape, image_sizes


@MODELS.register_module()
class PixelGenerator(nn.Module):
    """No network: the latents are the pixels.

    With it, ``ImageSynthesizer`` optimises pixels directly, as DeepInversion
    does (Yin et al., CVPR 2020, section 3.1). Latents, drawn from N(0, 1),
    are the normalised images. While they are optimised, in train mode, pixels
    may leave 0..255, as in the authors' code; the images of a round are
    clipped.

    Args:
        img_size (int | sequence[int], optional): Height and width of the
            images, or (height, width). Defaults to None: with ``channels``
            from the algorithm's ``image_shape`` (see :meth:`fit`).
        channels (int, optional): Channels of the images. Defaults to None:
            the algorithm's, or 3.
        mean (sequence[float] | float): Of the teacher's training images, each
            channel or all, 0..255. Defaults to 127.5.
        std (sequence[float] | float): Likewise. Defaults to 64.
        clip (bool): Whether latents are brought back to 0..255 after each
            step (github zju-vipa/CMI, clip_images). Defaults to False.
    """

    makes = 'images'

    def __init__(
        self,
        img_size: Union[None, int, Sequence[int]] = None,
        channels: Optional[int] = None,
        mean: Sequence[float] = 127.5,
        std: Sequence[float] = 64.0,
        clip: bool = False,
    ) -> None:
        super().__init__()
        self.clip = clip
        sizes = image_sizes(img_size, 'PixelGenerator')
        self.given = (channels, img_size)
        self.image_shape = (3 if channels is None else channels, *sizes)
        for name, value in zip(
            ('channels', 'img_size', 'width'), self.image_shape
        ):
            check_integer(f'{name} of PixelGenerator', value)
        for name, value in dict(mean=mean, std=std).items():
            value = torch.tensor(value, dtype=torch.float32).flatten() / 255
            self.register_buffer(name, value.view(-1, 1, 1))
        if channels is not None:
            self._check_numbers()

    def _check_numbers(self) -> None:
        channels = self.image_shape[0]
        for name in ('mean', 'std'):
            number = len(getattr(self, name))
            if number not in (1, channels):
                raise ValueError(
                    f'{name} of PixelGenerator should be one number or one '
                    f'for each of {channels} channels, but got {number}.'
                )

    @property
    def latent_dim(self) -> int:
        """Width of the latent: all pixels."""
        return math.prod(self.image_shape)

    def fit(self, image_shape: Sequence[int]) -> None:
        """Make images of (C, H, W), as far as the arguments leave it open."""
        self.image_shape = fitted_shape(self.given, image_shape)
        self._check_numbers()

    def forward(
        self, data: Optional[Tensor] = None, batch_size: int = 1
    ) -> Tensor:
        """Make images.

        Args:
            data (Tensor, optional): Latents, (N, latent_dim). Drawn from
                N(0, 1) if None.
            batch_size (int): How many to draw if ``data`` is None.

        Returns:
            Tensor: Images, (N, C, H, W); in [0, 1] in eval mode.
        """
        if data is None:
            data = torch.randn(
                batch_size, self.latent_dim, device=self.mean.device
            )
        pixels = data.view(-1, *self.image_shape) * self.std + self.mean
        return pixels if self.training else pixels.clamp(0, 1)

    @torch.no_grad()
    def after_step(self, latent: Tensor) -> None:
        """Bring latents back to 0..255, if ``clip``.

        Args:
            latent (Tensor): (N, latent_dim), changed in place.
        """
        if self.clip:
            pixels = latent.view(-1, *self.image_shape)
            low, high = -self.mean / self.std, (1 - self.mean) / self.std
            pixels.copy_(pixels.clamp(low, high))

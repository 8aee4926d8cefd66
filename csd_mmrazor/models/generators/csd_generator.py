# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn as nn
from mmrazor.models.architectures.generators.base_generator import (
    BaseGenerator,
)
from mmrazor.registry import MODELS

from ...utils import check_integer
from ..utils import contiguous
from .shapes import DEFAULT_SHAPE, fitted_shape, image_sizes

# The generator is re-initialised each round like a DCGAN (authors' code,
# datafree/synthesis/csd.py).
DCGAN_INIT = (
    dict(type='Normal', layer=['Linear', 'Conv2d'], mean=0, std=0.02, bias=0),
    dict(type='Normal', layer='BatchNorm2d', mean=1, std=0.02, bias=0),
)


# The largest first map. Its layer has 256 weights for each of its numbers.
_MOST_AT_FIRST = 16


def num_upsamples(*sizes: int) -> int:
    """How often the first feature map is doubled to reach the images' size.

    Two doublings up to 32 pixels, as in the paper; larger images get one
    more as long as the first map is larger than 8 and can be halved, or is
    larger than 16.

    Args:
        *sizes (int): Height and width of the images, or either.

    Returns:
        int: 2 or more. Sizes that are no multiple of 2 to that power are
        rounded up to one within the generator.
    """
    stages, size = 2, -(-max(sizes) // 4) * 4
    while (size >> stages > 8 and size % (1 << (stages + 1)) == 0) or (
        -(-size // (1 << stages)) > _MOST_AT_FIRST
    ):
        stages += 1
    return stages


@MODELS.register_module()
class CSDGenerator(BaseGenerator):
    """The image generator of `CSD <https://arxiv.org/abs/2307.04542>`_.

    Linear - BN, then stages of (nearest x2 - conv3x3 - BN - LeakyReLU), then
    conv3x3 - sigmoid. It is the generator that CMI and CSD share in their
    code (datafree/models/generator.py).

    Args:
        img_size (int | sequence[int], optional): Height and width of the
            images, or (height, width); 1 or more. What is no multiple of 4 is
            made larger and cropped. Defaults to None: with ``channels`` from
            the algorithm's ``image_shape`` (see :meth:`fit`).
        latent_dim (int): Width of the latent. Defaults to 256 (authors'
            code).
        hidden_channels (int): Channels of the last stage; the stages before
            have twice as many. Defaults to 64 (authors' code).
        channels (int, optional): Channels of the images. Defaults to None:
            the algorithm's, or 3.
        first_channels (int, optional): Channels of the first feature map.
            DFQ's has four times ``hidden_channels``. Defaults to twice as
            many.
        init_cfg (dict | list[dict], optional): How the weights are drawn.
            None leaves torch's own initial weights. Defaults to N(0, 0.02)
            for weights and N(1, 0.02) for the scales of normalisation
            layers.
    """

    makes = 'images'

    def __init__(
        self,
        img_size: Union[None, int, Sequence[int]] = None,
        latent_dim: int = 256,
        hidden_channels: int = 64,
        channels: Optional[int] = None,
        first_channels: Optional[int] = None,
        init_cfg: Optional[Union[Dict, List[Dict]]] = DCGAN_INIT,
    ):
        sizes = image_sizes(img_size, 'CSDGenerator')
        for name, value in dict(
            img_size=sizes[0],
            width=sizes[1],
            latent_dim=latent_dim,
            hidden_channels=hidden_channels,
            channels=DEFAULT_SHAPE[0] if channels is None else channels,
            first_channels=1 if first_channels is None else first_channels,
        ).items():
            check_integer(f'{name} of CSDGenerator', value)
        if isinstance(init_cfg, tuple):
            init_cfg = list(init_cfg)
        super().__init__(img_size, latent_dim, hidden_channels, init_cfg)
        self.given = (channels, img_size)
        self.first_channels = first_channels
        self._build((channels or DEFAULT_SHAPE[0], *sizes))

    def fit(self, image_shape: Sequence[int]) -> None:
        """Make images of a shape, as far as the arguments leave it open.

        Args:
            image_shape (sequence[int]): (C, H, W).
        """
        wanted = fitted_shape(self.given, image_shape)
        if wanted != self.image_shape:
            with torch.random.fork_rng(devices=[]):
                self._build(wanted)

    def _build(self, image_shape: Tuple[int, int, int]) -> None:
        """Make the layers for images of (C, H, W)."""
        self.image_shape = image_shape
        channels, height, width = image_shape
        stages = num_upsamples(height, width)
        self.init_size = tuple(
            -(-size // (1 << stages)) for size in (height, width)
        )
        in_channels, *widths = self._widths(stages)
        self.linear = nn.Linear(
            self.latent_dim,
            in_channels * self.init_size[0] * self.init_size[1],
        )
        layers = [nn.BatchNorm2d(in_channels)]
        for out_channels in widths:
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            in_channels = out_channels
        layers += [
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.Sigmoid(),
        ]
        self.layers = nn.Sequential(*layers)

    def _widths(self, stages: int) -> List[int]:
        """Channels of the first map and after each stage."""
        wide = 2 * self.hidden_channels
        first = self.first_channels or wide
        return [first, *[wide] * (stages - 1), self.hidden_channels]

    def reset_first_layer(self) -> None:
        """Draw the first layer and its normalisation from N(0, 0.02).

        Fast-Datafree does so once in a run (authors' code, reset_l0).
        """
        for layer in (self.linear, self.layers[0]):
            nn.init.normal_(layer.weight, 0, 0.02)
            nn.init.zeros_(layer.bias)

    def forward(
        self, data: Optional[torch.Tensor] = None, batch_size: int = 1
    ) -> torch.Tensor:
        """Make images.

        Args:
            data (torch.Tensor, optional): Latents, (N, latent_dim). Drawn
                from N(0, 1) if None.
            batch_size (int): How many to draw if ``data`` is None.

        Returns:
            torch.Tensor: Images in [0, 1], (N, C, H, W).
        """
        latent = self.process_latent(data, batch_size)
        maps = self.linear(latent)  # (N, 2w * h * w)
        maps = maps.view(len(maps), -1, *self.init_size)
        # Upsampling in this layout takes a fifth of the time on CPUs.
        maps = maps.contiguous(memory_format=torch.channels_last)
        images = self.layers(maps)
        _, height, width = self.image_shape
        top = (images.shape[2] - height) // 2
        left = (images.shape[3] - width) // 2
        images = images[:, :, top : top + height, left : left + width]
        # The networks that see the images have formats of their own.
        return contiguous(images)

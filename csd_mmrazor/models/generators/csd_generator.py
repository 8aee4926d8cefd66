# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List, Optional, Union

import torch
import torch.nn as nn
from mmrazor.models.architectures.generators.base_generator import (
    BaseGenerator,
)
from mmrazor.registry import MODELS

from ...utils import check_integer
from ..utils import contiguous

# The generator is re-initialised each round like a DCGAN (authors' code,
# datafree/synthesis/csd.py).
DCGAN_INIT = (
    dict(type='Normal', layer=['Linear', 'Conv2d'], mean=0, std=0.02, bias=0),
    dict(type='Normal', layer='BatchNorm2d', mean=1, std=0.02, bias=0),
)


def num_upsamples(img_size: int) -> int:
    """How often the first feature map is doubled to reach ``img_size``.

    Two doublings up to 32 pixels, as in the paper; larger images get one
    more as long as the first map stays larger than 8 and whole.
    """
    stages = 2
    while img_size >> stages > 8 and img_size % (1 << (stages + 1)) == 0:
        stages += 1
    return stages


@MODELS.register_module()
class CSDGenerator(BaseGenerator):
    """The image generator of `CSD <https://arxiv.org/abs/2307.04542>`_.

    Linear - BN, then stages of (nearest x2 - conv3x3 - BN - LeakyReLU), then
    conv3x3 - sigmoid. It is the generator that CMI and CSD share in their
    code (datafree/models/generator.py).

    Args:
        img_size (int): Height and width of the images, a multiple of 4.
        latent_dim (int): Width of the latent. Defaults to 256 (authors'
            code).
        hidden_channels (int): Channels of the last stage; the stages before
            have twice as many. Defaults to 64 (authors' code).
        channels (int): Channels of the images. Defaults to 3.
        init_cfg (dict | list[dict], optional): How the weights are drawn.
            Defaults to N(0, 0.02) for weights and N(1, 0.02) for the scales
            of normalisation layers.
    """

    makes = 'images'

    def __init__(
        self,
        img_size: int,
        latent_dim: int = 256,
        hidden_channels: int = 64,
        channels: int = 3,
        init_cfg: Optional[Union[Dict, List[Dict]]] = DCGAN_INIT,
    ):
        for name, value in dict(
            img_size=img_size,
            latent_dim=latent_dim,
            hidden_channels=hidden_channels,
            channels=channels,
        ).items():
            check_integer(f'{name} of CSDGenerator', value)
        if img_size % 4:
            raise ValueError(
                'CSDGenerator makes images whose size is a multiple of 4, '
                f'but got img_size={img_size}: try {img_size // 4 * 4} or '
                f'{img_size // 4 * 4 + 4}.'
            )
        if isinstance(init_cfg, tuple):
            init_cfg = list(init_cfg)
        super().__init__(img_size, latent_dim, hidden_channels, init_cfg)
        self.channels = channels
        stages = num_upsamples(img_size)
        self.init_size = img_size >> stages
        wide = 2 * hidden_channels
        self.linear = nn.Linear(latent_dim, wide * self.init_size**2)
        layers = [nn.BatchNorm2d(wide)]
        in_channels = wide
        for stage in range(stages):
            out_channels = hidden_channels if stage == stages - 1 else wide
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

    def forward(
        self, data: Optional[torch.Tensor] = None, batch_size: int = 1
    ) -> torch.Tensor:
        """Make images.

        Args:
            data (torch.Tensor, optional): Latents, (N, latent_dim). Drawn
                from N(0, 1) if None.
            batch_size (int): How many to draw if ``data`` is None.

        Returns:
            torch.Tensor: Images in [0, 1], (N, channels, img_size, img_size).
        """
        latent = self.process_latent(data, batch_size)
        maps = self.linear(latent)  # (N, 2w * s * s)
        maps = maps.view(len(maps), -1, self.init_size, self.init_size)
        # Upsampling in this layout takes a fifth of the time on CPUs.
        maps = maps.contiguous(memory_format=torch.channels_last)
        # The networks that see the images have formats of their own.
        return contiguous(self.layers(maps))

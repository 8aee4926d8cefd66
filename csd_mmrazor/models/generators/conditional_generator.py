# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, Optional

import torch
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer
from .of_classes import OfClasses


@MODELS.register_module()
class ConditionalGenerator(OfClasses):
    """Tells a generator which class each image is asked for.

    A latent is noise and, after it, an embedding of the class (Mirza and
    Osindero, 2014). Both are trained like any other latents.

    Args:
        generator (dict): Makes images of such latents, such as a
            ``PyramidGenerator``. Its ``latent_dim`` is filled in.
        num_classes (int): Classes K.
        noise_dim (int): Width of the noise. Defaults to 256.
        embed_dim (int): Width of the embeddings, drawn from N(0, 1), the same
            in every run. Defaults to 50, as in Fast-Datafree's code.

    Raises:
        ValueError: If a number makes no sense.
    """

    # Those of classes, too.
    trains_latents = True

    def __init__(
        self,
        generator: Dict[str, Any],
        num_classes: int,
        noise_dim: int = 256,
        embed_dim: int = 50,
    ) -> None:
        super().__init__()
        for name, value in dict(
            num_classes=num_classes, noise_dim=noise_dim, embed_dim=embed_dim
        ).items():
            check_integer(f'{name} of ConditionalGenerator', value)
        self.noise_dim = noise_dim
        self.latent_dim = noise_dim + embed_dim
        source = torch.Generator().manual_seed(0)
        rows = torch.randn(num_classes, embed_dim, generator=source)
        self.register_buffer('embeddings', rows, persistent=False)
        self.generator = MODELS.build(
            dict(generator, latent_dim=self.latent_dim)
        )

    def latents_of(self, labels: Tensor) -> Tensor:
        """New latents of classes: (N, ) to (N, latent_dim)."""
        noise = torch.randn(len(labels), self.noise_dim, device=labels.device)
        return torch.cat([noise, self.embeddings[labels]], 1)

    def forward(
        self, data: Optional[Tensor] = None, batch_size: int = 1
    ) -> Tensor:
        """Make images.

        Args:
            data (Tensor, optional): Latents, (N, latent_dim). Those of the
                classes in turn if None.
            batch_size (int): How many to make if ``data`` is None.

        Returns:
            Tensor: Images in [0, 1], (N, C, H, W).
        """
        if data is None:
            device = self.embeddings.device
            labels = torch.arange(batch_size, device=device)
            data = self.latents_of(labels % len(self.embeddings))
        images: Tensor = self.generator(data, len(data))
        return images

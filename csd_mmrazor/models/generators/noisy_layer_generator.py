# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, Optional

import torch
import torch.nn as nn
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer, load_file
from .of_classes import OfClasses


@MODELS.register_module()
class NoisyLayerGenerator(OfClasses):
    """The generator of NAYER: from embeddings of the classes, not from noise.

    BN - a *noisy layer* - another generator. What makes images of one class
    differ are the noisy layers, linear ones: each takes one image of each
    class, and all are drawn from N(0, 1) before every round (Tran et al., CVPR
    2024; authors' code, NLGenerator).

    The authors embed the classes' names by the text encoder of CLIP. Without a
    file of such embeddings, random ones take their place, which is another
    method: they do not know which classes are alike.

    Args:
        generator (dict): Makes images of what the noisy layers return, such as
            a ``CSDGenerator``. Its ``latent_dim`` is filled in.
        num_classes (int): Classes K.
        num_layers (int): Noisy layers; K times as many images make a batch.
        embed_dim (int): Width of the embeddings. Defaults to 512 (authors'
            code).
        noise_dim (int): Width of what the noisy layers return. Defaults to
            1000 (authors' code).
        embeddings (str, optional): File of a tensor (K, embed_dim), written
            by ``torch.save``. Defaults to None, drawn from N(0, 1), the same
            in every run.

    Raises:
        ValueError: If the file holds something else.
    """

    def __init__(
        self,
        generator: Dict[str, Any],
        num_classes: int,
        num_layers: int,
        embed_dim: int = 512,
        noise_dim: int = 1000,
        embeddings: Optional[str] = None,
    ) -> None:
        super().__init__()
        for name, value in dict(
            num_classes=num_classes,
            num_layers=num_layers,
            embed_dim=embed_dim,
            noise_dim=noise_dim,
        ).items():
            check_integer(f'{name} of NoisyLayerGenerator', value)
        shape = (num_classes, embed_dim)
        if embeddings is None:
            source = torch.Generator().manual_seed(0)
            rows = torch.empty(shape).normal_(generator=source)
        else:
            rows = load_file(embeddings)
            found = tuple(getattr(rows, 'shape', ())) or type(rows).__name__
            if found != shape or not rows.is_floating_point():
                raise ValueError(
                    f'embeddings={embeddings} of NoisyLayerGenerator should '
                    f'hold a tensor of floats of {shape}, a row for each '
                    f'class, but got {found}.'
                )
        self.register_buffer('embeddings', rows.float(), persistent=False)
        self.latent_dim = embed_dim
        self.norm = nn.BatchNorm1d(embed_dim)
        self.noisy_layers = nn.ModuleList(
            nn.Linear(embed_dim, noise_dim) for _ in range(num_layers)
        )
        self.generator = MODELS.build(dict(generator, latent_dim=noise_dim))

    def latents_of(self, labels: Tensor) -> Tensor:
        """The embeddings of classes: (N, ) to (N, embed_dim)."""
        return self.embeddings[labels]

    @torch.no_grad()
    def renew(self) -> None:
        """Draw the noisy layers again, as before every round."""
        for layer in self.noisy_layers:
            nn.init.normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, data: Optional[Tensor] = None, batch_size: int = 1
    ) -> Tensor:
        """Make images.

        Args:
            data (Tensor, optional): Embeddings, (N, embed_dim), whose classes
                take turns. Those of the classes in turn if None.
            batch_size (int): How many to make if ``data`` is None.

        Returns:
            Tensor: Images in [0, 1], (N, C, H, W).
        """
        num_classes, device = len(self.embeddings), self.embeddings.device
        if data is None:
            data = self.latents_of(
                torch.arange(batch_size, device=device) % num_classes
            )
        parts = self.norm(data).split(num_classes)
        if len(parts) > len(self.noisy_layers):
            raise ValueError(
                f'{len(data)} images at a time are more than num_classes x '
                f'num_layers of NoisyLayerGenerator, {num_classes} x '
                f'{len(self.noisy_layers)}: the others would be copies. Lower '
                'batch_size of the synthesizer, or raise num_layers.'
            )
        noise = torch.cat(
            [layer(part) for layer, part in zip(self.noisy_layers, parts)]
        )
        images: Tensor = self.generator(noise, len(noise))
        return images

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Sequence

import torch.nn as nn
from torch import Tensor


class OfClasses(nn.Module):
    """What generators have in common that get embeddings of classes.

    Attributes:
        embeddings (Tensor): A row for each class, (K, embed_dim).
        generator (nn.Module): Makes the images.
    """

    makes = 'images'
    embeddings: Tensor
    generator: Any

    def fit(self, image_shape: Sequence[int]) -> None:
        """Make images of (C, H, W), as far as the arguments leave it open."""
        if hasattr(self.generator, 'fit'):
            self.generator.fit(image_shape)

    def check_classes(self, num_classes: int) -> None:
        """Check that it has as many classes as the networks.

        Raises:
            ValueError: If it has not.
        """
        if len(self.embeddings) != num_classes:
            raise ValueError(
                f'num_classes of {type(self).__name__} should be that of the '
                f'networks, {num_classes}, but got {len(self.embeddings)}.'
            )

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, List, Optional, Sequence, Union

from mmrazor.registry import MODELS

from ...utils import check_integer
from .csd_generator import CSDGenerator


@MODELS.register_module()
class PyramidGenerator(CSDGenerator):
    """A generator for large images, with fewer channels on larger maps.

    It is a :class:`CSDGenerator` whose channels double where maps get half
    the size, as in DCGAN, so that all stages cost about the same. In
    ``CSDGenerator`` nearly all memory and time go to the last two stages.

    Args:
        img_size (int | sequence[int], optional): As of ``CSDGenerator``.
        latent_dim (int): Width of the latent. Defaults to 256.
        hidden_channels (int): Channels of the last stage. Defaults to 24: at
            224 pixels, as many multiplications as the class-conditional
            generator in Fast-Datafree's code has, two billion.
        channels (int, optional): As of ``CSDGenerator``.
        most_channels (int): Channels of small maps, at most. Defaults to 384.
        **kwargs: ``init_cfg`` of ``CSDGenerator``.

    Raises:
        ValueError: If a number makes no sense.
    """

    def __init__(
        self,
        img_size: Union[None, int, Sequence[int]] = None,
        latent_dim: int = 256,
        hidden_channels: int = 24,
        channels: Optional[int] = None,
        most_channels: int = 384,
        **kwargs: Any,
    ) -> None:
        check_integer('most_channels of PyramidGenerator', most_channels)
        self.most_channels = most_channels
        super().__init__(
            img_size, latent_dim, hidden_channels, channels, **kwargs
        )

    def _widths(self, stages: int) -> List[int]:
        most = max(self.most_channels, self.hidden_channels)
        widths = [
            min(self.hidden_channels << after, most)
            for after in range(stages, -1, -1)
        ]
        return [self.first_channels or widths[0], *widths[1:]]

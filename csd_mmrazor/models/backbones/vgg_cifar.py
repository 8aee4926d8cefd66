# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List, Optional, Tuple, Union

import torch.nn as nn
from mmengine.model import BaseModule
from mmrazor.registry import MODELS
from torch import Tensor

# Channels of the convolutions, stage by stage (VGG paper, table 1).
ARCHITECTURES = {
    11: [[64], [128], [256] * 2, [512] * 2, [512] * 2],
    13: [[64] * 2, [128] * 2, [256] * 2, [512] * 2, [512] * 2],
    16: [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3],
    19: [[64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4],
}


@MODELS.register_module()
class VGG_CIFAR(BaseModule):
    """VGG with batch normalisation, for small images.

    As `VGG <https://arxiv.org/abs/1409.1556>`_, five stages of conv3x3 (with
    bias) - BN - ReLU, but the last two stages share a resolution, so that
    images of 32 pixels end as a map of 4x4, which is averaged, and one linear
    layer follows. These are the VGGs of the distillation literature (CRD and
    its heirs; authors' code of CSD, datafree/models/classifiers/vgg.py).

    Args:
        depth (int): 11, 13, 16 or 19.
        in_channels (int): Channels of the images. Defaults to 3.
        num_pools (int): Stages that end with a max pooling, 0 to 4. 3 is for
            images of 32 pixels, 4 for 64. Defaults to 3.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming's normal
            by the number of outputs (authors' code).

    Raises:
        ValueError: If ``depth`` or ``num_pools`` is none of these.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        num_pools: int = 3,
        init_cfg: Optional[Union[Dict, List[Dict]]] = [
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', layer='BatchNorm2d', val=1),
        ],
    ) -> None:
        super().__init__(init_cfg)
        if depth not in ARCHITECTURES:
            raise ValueError(
                f'depth of VGG_CIFAR should be one of {[*ARCHITECTURES]}, but '
                f'got {depth!r}.'
            )
        if num_pools not in range(5):
            raise ValueError(
                'num_pools of VGG_CIFAR should be 0 to 4, one for each stage '
                f'but the last, but got {num_pools!r}.'
            )
        self.depth = depth
        self.stages = nn.ModuleList()
        for index, widths in enumerate(ARCHITECTURES[depth]):
            layers = []
            for out_channels in widths:
                layers += [
                    nn.Conv2d(in_channels, out_channels, 3, padding=1),
                    nn.BatchNorm2d(out_channels),
                    nn.ReLU(inplace=True),
                ]
                in_channels = out_channels
            if index < num_pools:
                layers.append(nn.MaxPool2d(2))
            self.stages.append(nn.Sequential(*layers))

    def forward(self, inputs: Tensor) -> Tuple[Tensor]:
        """The last feature map.

        Args:
            inputs (Tensor): (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map, (N, 512, H / 2^num_pools, ...), as
            mmpretrain's backbones return it.
        """
        for stage in self.stages:
            inputs = stage(inputs)
        return (inputs,)

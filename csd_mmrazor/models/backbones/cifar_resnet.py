# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List, Optional, Tuple, Union

import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmrazor.registry import MODELS
from torch import Tensor

# Channels of the three stages (ResNet paper, section 4.2).
WIDTHS = (16, 32, 64)


class _Block(nn.Module):
    """Two conv3x3 - BN, and a shortcut without weights around them.

    Where a block halves the map and widens it, its shortcut takes every
    second pixel and pads the channels with zeros, half of them on each side
    (option A of the paper).

    Args:
        in_channels (int): Channels of the map.
        out_channels (int): Channels of the result.
        stride (int): Of the first convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (out_channels - in_channels) // 2
        self.conv1 = nn.Conv2d(
            in_channels, out_channels, 3, stride, 1, bias=False
        )
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.stride > 1:
            shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.padding:
            pads = (0, 0, 0, 0, self.padding, self.padding)
            shortcut = F.pad(shortcut, pads)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


@MODELS.register_module()
class CIFARResNet(BaseModule):
    """The ResNets for CIFAR of He et al., of 6n + 2 layers.

    conv3x3 - BN - ReLU, three stages of n blocks with 16, 32 and 64 channels,
    and shortcuts without weights (`ResNet <https://arxiv.org/abs/1512.03385>`_
    section 4.2, option A). mmpretrain's ``ResNet_CIFAR`` is another network,
    the ImageNet ResNet with a smaller stem. Modules are named as in the
    implementation whose weights are most in use, github
    akamaster/pytorch_resnet_cifar10 (``conv1``, ``bn1``, ``layer1.0.conv1``,
    ...).

    Args:
        depth (int): 20, 32, 44, 56, 110, or any 6n + 2 from 8 on.
        in_channels (int): Channels of the images. Defaults to 3.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming's normal
            by the number of inputs (both sources).

    Raises:
        ValueError: If ``depth`` is not 6n + 2.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        init_cfg: Optional[Union[Dict, List[Dict]]] = [
            dict(type='Kaiming', layer='Conv2d', mode='fan_in'),
            dict(type='Constant', layer='BatchNorm2d', val=1),
        ],
    ) -> None:
        super().__init__(init_cfg)
        if type(depth) is not int or depth < 8 or depth % 6 != 2:
            raise ValueError(
                'depth of CIFARResNet should be 6n + 2, such as 20, 32, 44, '
                f'56 or 110, but got {depth!r}.'
            )
        self.depth = depth
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        channels = WIDTHS[0]
        for stage, width in enumerate(WIDTHS, 1):
            blocks = []
            for index in range((depth - 2) // 6):
                stride = 2 if stage > 1 and index == 0 else 1
                blocks.append(_Block(channels, width, stride))
                channels = width
            self.add_module(f'layer{stage}', nn.Sequential(*blocks))

    def forward(self, inputs: Tensor) -> Tuple[Tensor]:
        """The last feature map.

        Args:
            inputs (Tensor): (N, in_channels, H, W).

        Returns:
            tuple[Tensor]: One map, (N, 64, H / 4, W / 4), as mmpretrain's
            backbones return it.
        """
        x = self.relu(self.bn1(self.conv1(inputs)))
        return (self.layer3(self.layer2(self.layer1(x))),)

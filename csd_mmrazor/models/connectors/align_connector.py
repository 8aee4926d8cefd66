# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, Optional, Sequence, Union

import torch.nn as nn
import torch.nn.functional as F
from mmrazor.models.architectures.connectors.base_connector import (
    BaseConnector,
)
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_integer

# Channels in between at most, where nothing else is said.
MOST_CHANNELS = 1024


@MODELS.register_module()
class AlignConnector(BaseConnector):
    """Brings the student's last feature map into the teacher's form.

    conv1x1 - BN - ReLU - conv3x3 - BN - ReLU - conv1x1 with twice the
    teacher's channels in between (authors' code, AlignHead of
    datafree/utils/_utils.py, after SemCKD).

    Args:
        in_channel (int): Channels of the student's map.
        out_channel (int): Channels of the teacher's map.
        out_size (int | sequence[int], optional): Height and width of the
            teacher's map, or (height, width); the student's is
            average-pooled to it where it is larger, and repeated where it is
            smaller. None takes the student's as it is. Defaults to None.
        mid_channel (int, optional): Channels in between, the bottleneck.
            Defaults to None: twice the teacher's, but no more than
            1,024, with which the middle layer has 9.4 M weights.
        init_cfg (dict, optional): Defaults to None, torch's own.
    """

    def __init__(
        self,
        in_channel: int,
        out_channel: int,
        out_size: Union[None, int, Sequence[int]] = None,
        mid_channel: Optional[int] = None,
        init_cfg: Optional[Dict] = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_size = out_size
        if mid_channel is None:
            mid_channel = min(2 * out_channel, MOST_CHANNELS)
        for name, value in dict(
            in_channel=in_channel,
            out_channel=out_channel,
            mid_channel=mid_channel,
        ).items():
            check_integer(f'{name} of AlignConnector', value)
        self.layers = nn.Sequential(
            nn.Conv2d(in_channel, mid_channel, 1, bias=False),
            nn.BatchNorm2d(mid_channel),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_channel, mid_channel, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channel),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_channel, out_channel, 1, bias=False),
        )

    def forward_train(self, feature: Tensor) -> Tensor:
        """Align a map.

        Args:
            feature (Tensor): The student's map, (N, in_channel, h, w).

        Returns:
            Tensor: (N, out_channel, H, W).
        """
        size = self.out_size
        if isinstance(size, int):
            size = (size, size)
        if size and tuple(feature.shape[2:]) != tuple(size):
            feature = F.adaptive_avg_pool2d(feature, tuple(size))
        return self.layers(feature)

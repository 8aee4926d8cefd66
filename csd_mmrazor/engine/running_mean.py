# Copyright (c) csd_mmrazor developers. All rights reserved.
from itertools import chain
from typing import Any, Dict

import torch.nn as nn
from mmengine.model import MomentumAnnealingEMA

from ..models.utils import renew_modes


class RunningMean(MomentumAnnealingEMA):
    """The mean of a network's weights and statistics over its last steps.

    MMEngine's, for any network: weights that layers share count once, complex
    ones are averaged as well, and what has no mean (counters, masks) is that
    of the latest step.

    Args:
        network (nn.Module): The mean starts from a copy of it.
        share (float): Of each new step in the mean, at least.
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        super().__init__(network, momentum=share, gamma=1, update_buffers=True)
        # A tensor once, and none that is not in checkpoints.
        own = chain(
            self.module.named_parameters(), self.module.named_buffers()
        )
        names = {name for name, _ in own}
        self.avg_parameters: Dict[str, Any] = {
            name: value
            for name, value in self.module.state_dict().items()
            if name in names
        }

    def update_parameters(self, model: nn.Module) -> None:
        """Take a step into the mean; it begins with the first.

        Args:
            model (nn.Module): The network after that step.
        """
        latest = model.state_dict()
        for name, mean in self.avg_parameters.items():
            value = latest[name].to(mean.device)
            has_mean = mean.is_floating_point() or mean.is_complex()
            if self.steps and has_mean:
                self.avg_func(mean, value, self.steps)
            else:
                mean.copy_(value)
        self.steps += 1
        renew_modes(self.module)

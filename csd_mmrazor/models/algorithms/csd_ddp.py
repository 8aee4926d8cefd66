# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict

from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmrazor.registry import MODEL_WRAPPERS
from torch import Tensor


@MODEL_WRAPPERS.register_module()
class CSDDistributedDataParallel(MMDistributedDataParallel):
    """Distributed wrapper for ``CSDDistillation``.

    Student and auxiliary head take turns in one ``train_step``, each with a
    forward pass of this wrapper, so that the gradients of both are averaged
    over the processes. ``find_unused_parameters=True`` is needed: in either
    turn the other one's parameters are idle.
    """

    def train_step(
        self, data: Dict, optim_wrapper: OptimWrapper
    ) -> Dict[str, Tensor]:
        """See ``CSDDistillation.train_step``."""
        return self.module.train_step(data, optim_wrapper, forward=self)

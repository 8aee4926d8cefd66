# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict

import torch.nn as nn
from mmengine.dist import broadcast
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

    Teachers never change, so their buffers are made the same in all processes
    once, and not sent again before each pass.

    Args:
        module (nn.Module): The algorithm.
        *args: Arguments of ``MMDistributedDataParallel``.
        **kwargs: Likewise.
    """

    def __init__(self, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        if kwargs.get('detect_anomalous_params'):
            raise ValueError(
                'detect_anomalous_params=True does nothing in '
                'CSDDistributedDataParallel, whose steps do not look for such '
                'parameters: leave it out of model_wrapper_cfg.'
            )
        names = []
        if 'teachers' in module._modules:
            for name, buffer in module.teachers.named_buffers():
                broadcast(buffer)
                names.append(f'teachers.{name}')
        self._set_params_and_buffers_to_ignore_for_model(module, names)
        super().__init__(module, *args, **kwargs)

    def train_step(
        self, data: Dict, optim_wrapper: OptimWrapper
    ) -> Dict[str, Tensor]:
        """See ``CSDDistillation.train_step``."""
        return self.module.train_step(data, optim_wrapper, forward=self)

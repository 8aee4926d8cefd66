# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager
from typing import Iterator

import torch
import torch.nn as nn
from mmengine.optim import OptimWrapper
from mmrazor.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, on GPUs and CPUs.

    bfloat16 has the range of float32, so losses are not scaled and no step
    waits to learn whether it overflowed, as MMEngine's ``AmpOptimWrapper``
    (for float16, on GPUs only) has to.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in mixed precision."""
        device = next(model.parameters()).device.type
        with (
            super().optim_context(model),
            torch.autocast(device, torch.bfloat16),
        ):
            yield

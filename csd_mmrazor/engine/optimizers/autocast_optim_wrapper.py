# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager
from typing import Any, Iterator, List

import torch
import torch.nn as nn
from mmengine.optim import OptimWrapper
from mmrazor.registry import OPTIM_WRAPPERS

from ...models.utils import cast_together
from ...utils.slow_bfloat16 import warn_of_slow_bfloat16


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision in bfloat16, on GPUs and CPUs.

    bfloat16 has the range of float32, so losses are not scaled and no step
    waits to learn whether it overflowed, as MMEngine's ``AmpOptimWrapper``
    (for float16, on GPUs only) has to.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        warn_of_slow_bfloat16()

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass in mixed precision."""
        device = next(model.parameters()).device.type
        with (
            super().optim_context(model),
            torch.autocast(device, torch.bfloat16),
            cast_together(*_parts(model)),
        ):
            yield


def _parts(model: nn.Module) -> List[nn.Module]:
    """Parts of which all weights are cast together.

    With several processes, not those that are trained: their gradients are
    sent while others are still computed.
    """
    inner = getattr(model, 'module', model)
    trained: List[nn.Module] = []
    others: List[nn.Module] = []
    for part in inner.children():
        is_trained = any(param.requires_grad for param in part.parameters())
        (trained if is_trained else others).append(part)
    return [*others, nn.ModuleList(trained)] if inner is model else others

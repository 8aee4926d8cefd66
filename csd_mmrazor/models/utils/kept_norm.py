# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Callable, Optional

from mmengine.optim import OptimWrapper
from torch import Tensor


class KeptNorm:
    """Clips gradients, and keeps their norm on the device.

    MMEngine logs what its clipping function returns, for which each step
    waits. This one returns nothing.

    Args:
        clip (Callable): Torch's function that clips.
    """

    def __init__(self, clip: Callable[..., Optional[Tensor]]) -> None:
        self.clip = clip
        self.value: Optional[Tensor] = None

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Clip, and keep the norm that the gradients had."""
        self.value = self.clip(*args, **kwargs)


def keep_norm(optimizer: OptimWrapper) -> Optional[KeptNorm]:
    """Let an optimizer that clips gradients keep their norm.

    Args:
        optimizer (OptimWrapper): Of MMEngine; the same each time.

    Returns:
        KeptNorm | None: Its value is of the last time that it clipped, which
        is steps ago where gradients accumulate. None if it does not clip.
    """
    if not getattr(optimizer, 'clip_grad_kwargs', None):
        return None
    if not isinstance(optimizer.clip_func, KeptNorm):
        optimizer.clip_func = KeptNorm(optimizer.clip_func)
    kept: KeptNorm = optimizer.clip_func
    return kept

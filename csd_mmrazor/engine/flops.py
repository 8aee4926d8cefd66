# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Callable

from torch.utils.flop_counter import FlopCounterMode


def operations(function: Callable[[], Any]) -> float:
    """Floating-point operations of one call.

    Counted are convolutions and matrix products, 2 a
    multiplication-addition, by torch's ``FlopCounterMode``.

    Args:
        function (Callable): What is called, once.

    Returns:
        float: Their number.
    """
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())

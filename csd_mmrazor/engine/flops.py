# Copyright (c) csd_mmrazor developers. All rights reserved.
from math import prod
from typing import Any, Callable, Sequence

import torch
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
    with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        function()
    return float(counter.get_total_flops())


# Formulas get the arguments of torch's functions, shapes in place of tensors.
_Shape = Sequence[int]


def _convolution_backward(
    grad: _Shape, inputs: _Shape, weight: _Shape, *others: Any, **_: Any
) -> int:
    """Where torch's own counts groups as one, for gradients of weights."""
    is_transposed, _, _, wanted = others[-4:]
    places = inputs if is_transposed else grad
    products = places[0] * prod(places[2:]) * prod(weight)
    return 2 * products * sum(wanted[:2])


_FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}

# Copyright (c) csd_mmrazor developers. All rights reserved.
from math import prod
from typing import Any, Callable, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode


def operations(function: Callable[[], Any]) -> float:
    """Floating-point operations of one call.

    Counted are convolutions and matrix products, those of attention and of
    recurrent layers as well, 2 a multiplication-addition, by torch's
    ``FlopCounterMode``.

    Args:
        function (Callable): What is called, once.

    Returns:
        float: Their number.
    """
    # Where torch runs a whole transformer layer as one, there is no formula.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(
            display=False, custom_mapping=_FORMULAS
        ) as counter:
            function()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
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


def _attention(
    query: _Shape, key: _Shape, value: _Shape, *_: Any, **__: Any
) -> int:
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward(
    _: _Shape, query: _Shape, key: _Shape, value: _Shape, *__: Any, **___: Any
) -> int:
    """The scores are computed again, as on GPUs."""
    widths = 3 * query[-1] + 2 * value[-1]
    return 2 * prod(query[:-1]) * key[-2] * widths


def _lstm(
    inputs: _Shape, own: _Shape, state: _Shape, *_: Any, **__: Any
) -> int:
    """On CPUs, of one layer and direction."""
    return 2 * prod(inputs[:-1]) * (prod(own) + prod(state))


def _recurrent(
    inputs: _Shape, weights: Sequence[_Shape], *_: Any, **__: Any
) -> int:
    """On GPUs, of all layers; biases are in one dimension."""
    once = sum(prod(each) for each in weights if len(each) > 1)
    return 2 * prod(inputs[:-1]) * once


def _twice(formula: Callable[..., int]) -> Callable[..., int]:
    """Gradients of inputs and of weights."""
    return lambda *args, **others: 2 * formula(*args, **others)


_aten = torch.ops.aten
_FORMULAS = {
    _aten.convolution_backward: _convolution_backward,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        _attention_backward
    ),
    _aten.mkldnn_rnn_layer: _lstm,
    _aten.mkldnn_rnn_layer_backward: _twice(_lstm),
    _aten._cudnn_rnn: _recurrent,
    _aten._cudnn_rnn_backward: _twice(_recurrent),
}

# Copyright (c) csd_mmrazor developers. All rights reserved.
from collections import Counter
from typing import Any, Callable, Dict, Optional, Tuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# They reserve memory, or give it another shape under another name than views.
_NO_KERNELS = {
    'empty',
    'empty_like',
    'empty_strided',
    'new_empty',
    'new_empty_strided',
    '_unsafe_view',
}


def becomes_kernel(operator: Any) -> bool:
    """Whether a call of an operator makes a device compute.

    Views, other changes of shape or strides, memory that is reserved, and
    questions about types do not, nor does ``item``, which waits instead.

    Args:
        operator (OpOverload): As a dispatch mode sees it, such as
            ``torch.ops.aten.add.Tensor``.
    """
    schema = operator._schema
    if schema.name.startswith('profiler::'):
        return False
    if schema.name.split('::')[1] in _NO_KERNELS:
        return False
    if torch.Tag.inplace_view in operator.tags:
        return False
    aliases = [value.alias_info for value in schema.returns]
    if aliases and all(alias and not alias.is_write for alias in aliases):
        return False  # views
    makes = any('Tensor' in str(value.type) for value in schema.returns)
    return makes or any(
        argument.alias_info and argument.alias_info.is_write
        for argument in schema.arguments
    )


class _Calls(TorchDispatchMode):
    """Counts calls, those of backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Tuple[Any, ...] = (),
        kwargs: Optional[Dict[str, Any]] = None,
    ) -> Any:
        if becomes_kernel(func):
            self.names[str(func)] += 1
        return func(*args, **(kwargs or {}))


def kernel_calls(function: Callable[[], Any]) -> Counter[str]:
    """Operator calls that become kernels, which a GPU launches one by one.

    A device is not needed to count them. A ``_foreach`` operator counts once,
    whatever the number of tensors. What ``torch.compile`` made is not seen.

    Args:
        function (Callable): What is called, once.

    Returns:
        Counter[str]: By name, such as 'aten.add.Tensor'.
    """
    with _Calls() as calls:
        function()
    return calls.names

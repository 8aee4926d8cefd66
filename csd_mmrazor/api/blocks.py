# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether a student is its teacher with fewer blocks, and starts from them."""

from typing import Any, Dict, List, Optional

import torch.nn as nn
from torch import Tensor

from ..models.utils import Chain, bn_layers, find_chains
from .networks import Network
from .recipes import is_wrapped


class _InRun(nn.Module):
    """What a run makes of a network of any class."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Any:
        return self.net(inputs)


def as_in_run(network: Network, copy: nn.Module) -> nn.Module:
    """A copy of a network by the names that its run has for its parts."""
    return _InRun(copy) if is_wrapped(network.build_cfg) else copy


def blocks_of(
    given: Optional[bool],
    networks: Dict[str, Network],
    copies: Dict[str, nn.Module],
    inputs: Tensor,
    student_weights: Optional[str] = None,
) -> List[Chain]:
    """The containers of which a student gets some of its teacher's blocks.

    Args:
        given (bool, optional): Whether it shall. None: if it can, has no
            frozen weights, and has not been trained, of which only BN layers
            tell.
        networks (dict[str, Network]): 'teacher' and 'student'.
        copies (dict[str, nn.Module]): Copies of them, on the CPU.
        inputs (Tensor): (N, C, H, W), normalised.
        student_weights (str, optional): A file that the student starts from.

    Returns:
        list[Chain]: Empty if it keeps its weights.

    Raises:
        ValueError: If it shall, but cannot.
    """
    if given is False:
        return []
    if given and student_weights is not None:
        raise ValueError(
            'teacher_blocks=True and student_weights='
            f'{str(student_weights)!r} both give the student its weights: '
            'leave one of them out.'
        )
    if given is None and not (
        student_weights is None and _is_untrained(copies['student'])
    ):
        return []
    teacher, student = (
        as_in_run(networks[name], copies[name])
        for name in ('teacher', 'student')
    )
    try:
        return find_chains(teacher, student, inputs)
    except Exception as error:  # whatever two networks have in common
        if given:
            raise ValueError(f'teacher_blocks=True: {error}') from error
        return []


def _is_untrained(student: nn.Module) -> bool:
    """Whether its BN layers have seen nothing yet, and nothing is frozen."""
    if not all(weight.requires_grad for weight in student.parameters()):
        return False  # what is frozen is to stay as it is
    seen = [
        getattr(layer, 'num_batches_tracked', None)
        for layer in bn_layers(student)
    ]
    return bool(seen) and all(n is not None and not n for n in seen)

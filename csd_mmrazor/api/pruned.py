# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether a student is its teacher pruned, and is fitted to it."""

from typing import Dict, List, Optional

import torch.nn as nn
from torch import Tensor

from ..models.utils import Place, find_refittable
from .blocks import as_in_run
from .networks import Network
from .recipes import is_part


def pruned_places(
    given: Optional[bool],
    networks: Dict[str, Network],
    copies: Dict[str, nn.Module],
    inputs: Tensor,
) -> List[Place]:
    """The layers of a pruned student that are fitted to its teacher.

    Args:
        given (bool, optional): Whether they shall be. None: if one of them is
            a convolution, and all weights of the student are some of the
            teacher's. The classifier alone is no gain: what it gets is not
            what it got from the teacher's other layers, and BN layers change
            it again in training. Of a network of digits all of whose channels
            were pruned, 150 steps left 7.8 % with it, 88.9 without (one run).
        networks (dict[str, Network]): 'teacher' and 'student'.
        copies (dict[str, nn.Module]): Copies of them, on the CPU.
        inputs (Tensor): (N, C, H, W), normalised.

    Returns:
        list[Place]: Empty if it keeps its weights.

    Raises:
        ValueError: If they shall be, but there are none.
    """
    if given is False:
        return []
    teacher, student = copies['teacher'], copies['student']
    if given is None and not is_part(student, teacher):
        return []
    why, places = _not_pruned(student, teacher), []
    if not why:
        why = (
            'no plain convolution or linear layer of the student lost inputs '
            'and kept all its outputs'
        )
        in_run = as_in_run(networks['student'], student)
        places = find_refittable(
            as_in_run(networks['teacher'], teacher), in_run, inputs
        )
        kinds = [type(in_run.get_submodule(place.layer)) for place in places]
        if given is None and nn.Conv2d not in kinds:
            return []
    if given and not places:
        raise ValueError(
            'refit=True fits a student to the teacher from which it was '
            f'pruned, but {why}: leave it out.'
        )
    return places


def share_of_zeros(student: nn.Module) -> float:
    """Share of the weights of layers that are 0, of layers that have others.

    They are what pruning of single weights leaves, and not of new layers that
    begin with zeros alone, nor what parametrizations make weights of, such as
    triangles for orthogonal ones.
    """
    matrices = [
        value
        for key, value in student.named_parameters()
        if value.ndim > 1 and 'parametrizations.' not in key
    ]
    weights = [value for value in matrices if value.any()]
    total = sum(value.numel() for value in weights)
    zeros = sum(int((value == 0).sum()) for value in weights)
    return zeros / max(total, 1)


def _not_pruned(student: nn.Module, teacher: nn.Module) -> str:
    """Why shapes of weights are not those that pruning channels leaves."""
    mine, its = (
        {key: tuple(value.shape) for key, value in net.state_dict().items()}
        for net in (student, teacher)
    )
    for name in sorted(mine.keys() ^ its.keys()):
        return f'{name} is in one of the two alone'
    for name, shape in mine.items():
        whole = its[name]
        if len(shape) != len(whole) or any(map(int.__gt__, shape, whole)):
            return f'{name} is {shape} in the student, {whole} in the teacher'
    return '' if mine != its else 'both are of one size'

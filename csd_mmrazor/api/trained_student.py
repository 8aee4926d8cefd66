# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students that are good before they are distilled, such as pruned ones."""

import math
from dataclasses import replace
from typing import Optional, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..models.synthesizers import Networks, chance_agreement, teacher_decisions
from ..models.utils import evaluating, logits_of
from .schedule import Schedule
from .start import BLOCKS, RANDOM

# Agreement with the teacher beyond chance from which a student counts as
# trained, and rates that it then has instead of higher ones. Pruned networks
# of digits (one run each): those of 99.7 and 98.1 %, which agreed by 0.76 and
# 0.57, fell to 65.0 and 76.1 % in 20 steps at 0.1, and to 97.8 and 97.2 % at
# 0.01. One of 63.1 %, which agreed by 0.28, rose to 94.4, 96.1 and 82.2 % in
# 400 steps at 0.1, 0.03 and 0.01. Three with random weights agreed by 0. One
# that was fitted to its teacher, of 9.6 % before, rose to 88.2, 91.4 and
# 90.9 % in 100 steps.
RATES = {0.5: 0.01, 0.2: 0.03}
# Images on which both are compared.
IMAGES = 512
_BATCH = 256


def beyond_chance(one: Tensor, other: Tensor) -> float:
    """Agreement of two classifiers beyond chance: Cohen's kappa.

    Args:
        one (Tensor): Decisions of one, classes from 0, (N, ), N of 1 or more.
        other (Tensor): Those of the other, (N, ).

    Returns:
        float: 1 if they are the same, 0 if no more of them are than would be
        with the same decisions in any order, or fewer than three standard
        errors more.
    """
    chance = chance_agreement(one, other)
    if chance > 1 - 1e-9:
        return 0.0  # both name one class whatever they see
    kappa = (float((one == other).double().mean()) - chance) / (1 - chance)
    error = math.sqrt(chance / (1 - chance) / len(one))
    return kappa if kappa > 3 * error else 0.0


def start_agreement(
    student: nn.Module, networks: Networks, images: Tensor
) -> float:
    """How far a student decides like the first teacher, see above.

    Args:
        student (nn.Module): As it came, on the teacher's device.
        networks (Networks): With the teacher.
        images (Tensor): (N, C, H, W), uint8.
    """
    decided = teacher_decisions(networks, images)
    with evaluating(student), torch.no_grad():
        own = torch.cat(
            [
                logits_of(
                    student(
                        networks.normalize(part.to(decided.device)),
                        mode='tensor',
                    )
                ).argmax(1)
                for part in images.split(_BATCH)
            ]
        )
    return beyond_chance(decided, own)


def rate_for(agreement: float, rate: float) -> float:
    """The learning rate of a student with such an agreement.

    Args:
        agreement (float): Of :func:`start_agreement`.
        rate (float): That of a student with random weights.
    """
    lower = [low for least, low in RATES.items() if agreement >= least]
    return min([rate, *lower])


def at_rate(
    row: Schedule,
    agreement: float,
    start_top1: Optional[float],
    is_fixed: bool,
    weights: str,
) -> Tuple[Schedule, str]:
    """The schedule of a student, and why it has its rate.

    Args:
        row (Schedule): With the rate of random weights.
        agreement (float): Of :func:`start_agreement`.
        start_top1 (float, optional): Its accuracy as it came, in %.
        is_fixed (bool): Whether that rate is to stay.
        weights (str): As of :func:`describe_weights`.

    Returns:
        tuple[Schedule, str]: The text is empty for random weights.
    """
    lr = row.lr if is_fixed else rate_for(agreement, row.lr)
    if agreement >= min(RATES):
        line = 'student: it decides much like the teacher before training'
        if start_top1 is not None:
            line += f', and came with {start_top1:.2f} % on val'
        why = 'which spares what it knows'
    elif weights in ('', BLOCKS, RANDOM):
        return row, ''
    else:
        line = (
            f'student: it has {weights}, but decides like the teacher hardly '
            'more often than by chance'
        )
        why = 'as random weights do'
    if is_fixed:
        return row, f'{line}; lr={lr:g}, as the schedule has it'
    return replace(row, lr=lr), (
        f'{line}, so it learns at lr={lr:g}, {why}; schedule=dict(lr=...) '
        'sets another'
    )

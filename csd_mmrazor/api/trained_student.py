# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students that are good before they are distilled, such as pruned ones."""

import math
from copy import deepcopy
from pathlib import Path
from typing import Optional, Union

import torch
import torch.nn as nn
from mmengine.runner import Runner
from torch import Tensor

from ..engine.agreement_images import bank_images, compare
from ..models.synthesizers import Networks, teacher_decisions
from ..models.utils import evaluating, load_weights, logits_of

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
    size = 1 + int(torch.cat([one, other]).max())
    shares = [
        torch.bincount(each, minlength=size).double() / len(each)
        for each in (one, other)
    ]
    chance = float((shares[0] * shares[1]).sum())
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


def became_worse(
    runner: Runner,
    weights: Union[str, Path],
    start_top1: Optional[float],
    top1: Optional[float],
) -> str:
    """What to tell if a student that was good is worse after its run.

    Args:
        runner (Runner): Of the run, which is over.
        weights (str | Path): Those that the student came with.
        start_top1 (float, optional): Its accuracy then, in %.
        top1 (float, optional): Its accuracy now.

    Returns:
        str: Empty if it is not, or nothing tells.
    """
    what = 'accuracy on val'
    if start_top1 is None or top1 is None:
        images = bank_images(
            runner.train_dataloader.dataset, 'held_out', IMAGES
        )
        if not len(images):
            return ''
        networks = Networks.from_algorithm(runner.model)
        before = deepcopy(networks.student)
        load_weights(before, str(weights), 'student')
        found = compare(
            networks, dict(before=before, after=networks.student), images
        )
        start_top1, top1 = (
            found[name]['top1'] for name in ('before', 'after')
        )
        what = (
            f'agreement with the teacher, on {len(images)} synthetic images,'
        )
    if top1 >= start_top1:
        return ''
    lr = runner.cfg.optim_wrapper.architecture.optimizer.lr
    return (
        f'WARNING: the student is worse than it came: its {what} was '
        f'{start_top1:.1f} %, and is {top1:.1f} %. What it learned before was '
        f'lost faster than it learned anew: lower its learning rate '
        f'(schedule=dict(lr={lr / 3:.2g})), or give a larger budget, which '
        f'makes more and better images. The weights it came with are in '
        f'{weights}'
    )

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether a student that was good is worse after its run."""

import math
from copy import deepcopy
from pathlib import Path
from typing import Dict, Optional, Union

import torch.nn as nn
from mmengine.runner import Runner

from ..engine.agreement_images import bank_images, compare
from ..models.synthesizers import Networks
from ..models.utils import load_weights, renew_modes
from ..models.utils.refitting import FITTED
from .doubts import answers
from .trained_student import IMAGES

# When a student that starts trained was as good as it then was.
_CAME, _FITTED = 'it came', 'right after it was fitted to the teacher'
# Standard errors beyond which it is no chance that a student is worse.
_ERRORS = 2


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
        start_top1 (float, optional): Its accuracy then, in %. None if it was
            not measured.
        top1 (float, optional): Its accuracy now. None without validation.

    Returns:
        str: Empty if it is not, nothing tells, or it may be by chance, as on
        few images.
    """
    networks = Networks.from_algorithm(runner.model)
    files = {_CAME: Path(weights), _FITTED: Path(runner.work_dir, FITTED)}
    students: Dict[str, nn.Module] = {}
    for name, file in files.items():
        if file.is_file():
            students[name] = deepcopy(networks.student)
            load_weights(students[name], str(file), 'student')
            renew_modes(students[name])
    if top1 is not None:
        what = 'accuracy on val'
        number = len(runner.val_dataloader.dataset)
        values = {} if start_top1 is None else {_CAME: start_top1}
        if _FITTED in students:
            values[_FITTED] = answers(
                students[_FITTED],
                runner.val_dataloader,
                runner.model.data_preprocessor,
                runner.cfg.model.data_preprocessor.num_classes,
            ).top1
    else:
        images = bank_images(
            runner.train_dataloader.dataset, 'held_out', IMAGES
        )
        number = len(images)
        if not number:
            return ''
        what = f'agreement with the teacher, on {number} synthetic images,'
        found = compare(networks, dict(students, now=networks.student), images)
        values = {name: each['top1'] for name, each in found.items()}
        top1 = values.pop('now')
    # The later of two that were as good.
    when = max(reversed([*values]), key=values.__getitem__, default=None)
    if when is None or not is_lower(top1, values[when], number):
        return ''
    lr = runner.cfg.optim_wrapper.architecture.optimizer.lr
    return (
        f'WARNING: the student is worse than {when}: its {what} was '
        f'{values[when]:.1f} %, and is {top1:.1f} %. What it learned before '
        f'was lost faster than it learned anew: lower its learning rate '
        f'(schedule=dict(lr={lr / 3:.2g})), or give a larger budget, which '
        f'makes more and better images. The weights it had then are in '
        f'{files[when]}'
    )


def is_lower(now: float, before: float, images: int) -> bool:
    """Whether chance hardly explains that a share of images is lower.

    Both are taken for shares of different images. Of the same, as here, they
    differ less by chance, so what is told is told with more certainty.

    Args:
        now (float): In %.
        before (float): In %.
        images (int): How many each is of, 1 or more.
    """
    both = (now + before) / 200
    error = math.sqrt(2 * both * (1 - both) / images)
    return before - now > 100 * _ERRORS * error

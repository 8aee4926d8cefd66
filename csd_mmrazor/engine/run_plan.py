# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run has still to do, and how long it may take."""

from typing import Any, Sequence

import torch
from mmengine.dist import get_world_size
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..models.synthesizers import ImageSynthesizer, Networks
from ..utils.run_clock import RunClock
from .measure import milliseconds, unnoticed

# Images of a pass that is timed, and such passes.
_MOST_IMAGES, _PASSES = 32, 2


def run_clock(
    runner: Runner,
    synthesizer: ImageSynthesizer,
    networks: Networks,
    image_shape: Sequence[int],
    with_teacher: bool = True,
) -> RunClock:
    """The clock of a run that is about to start.

    What has not come up yet is expected to take as long as the forward passes
    in it, which are timed, and twice as long for each backward pass. A step
    of the generator is not known before the first one.

    Args:
        runner (Runner): The run.
        synthesizer (ImageSynthesizer): What makes its images.
        networks (Networks): Its networks; they stay as they are.
        image_shape (sequence[int]): (C, H, W).
        with_teacher (bool): Whether student steps run the teachers. Defaults
            to True.

    Returns:
        RunClock: With student steps and validations as what is left; rounds
        are for whoever makes them.
    """
    loader, head = runner.train_dataloader, networks.aux_head
    device = next(networks.teachers.parameters()).device
    images = min(loader.batch_size, _MOST_IMAGES)
    inputs = networks.normalize(
        torch.zeros(images, *image_shape, dtype=torch.uint8, device=device)
    )
    models = [networks.student, *networks.each_teacher]
    with unnoticed(*models):
        student, *teachers = (
            milliseconds(model, inputs, _PASSES) / 1000 / images
            for model in models
        )
    teacher = sum(teachers)
    views = 0 if head is None else head.task.num_views
    # Of each image, in a step of synthesis and in one of the head.
    seen = synthesizer.views_per_image or views
    trained = getattr(head, 'views_per_image', None) or views
    needs = synthesizer.objective.needs()
    batch = synthesizer.batch_size
    validated = 0
    if runner.val_loop is not None:
        validated = len(runner.val_dataloader.dataset) // get_world_size()
    clock = RunClock(
        dict(
            initial=3 * batch * teacher,
            synthesis=3
            * batch
            * student
            * (('logits_s' in needs) + seen * ('aux_logits' in needs)),
            student=loader.batch_size
            * (teacher * with_teacher + (3 + trained) * student),
            validation=validated * (1 + views) * student,
        ),
        dict(synthesis='initial'),
    )
    clock.left.update(
        student=runner.max_iters - runner.iter,
        validation=validations_left(runner),
    )
    return clock


def validations_left(runner: Runner) -> int:
    """Validations that are due after what a run has done."""
    loop: Any = runner.train_loop
    if runner.val_loop is None:
        return 0
    is_epochs = isinstance(loop, EpochBasedTrainLoop)
    done, end = (
        (runner.epoch, runner.max_epochs)
        if is_epochs
        else (runner.iter, runner.max_iters)
    )
    before = max(done, loop.val_begin - 1)
    if before >= end:
        return 0
    number = end // loop.val_interval - before // loop.val_interval
    # The last one is due whatever the interval.
    return int(number + bool(end % loop.val_interval))


def is_training(runner: Runner) -> bool:
    """Whether a run is trained, not validated or tested alone."""
    loop = runner._train_loop
    return loop is not None and not isinstance(loop, dict)

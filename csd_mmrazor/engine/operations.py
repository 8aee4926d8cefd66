# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run costs in floating-point operations, which no machine blurs.

One step of each kind is counted, see :mod:`.flops`, and multiplied by the
number of steps.
"""

import copy
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.runner import Runner
from torch import Tensor

from ..datasets import ImageBank
from ..models.synthesizers import (
    ImageSynthesizer,
    Networks,
    teacher_logits,
)
from ..models.synthesizers.feature_memory import FeatureMemory
from ..models.utils import Chain, Place, choose_blocks, refit
from .early_images import example_inputs
from .flops import operations
from .hooks import RefitHook, TeacherBlocksHook
from .hooks.refit_hook import places_of
from .hooks.synthesis_hook import synthesis_hooks
from .hooks.teacher_blocks_hook import chains_of
from .measure import unnoticed


class RunCost(NamedTuple):
    """Operations of a run, in GFLOP (1e9)."""

    total: float
    before: Optional[float]  # those before its first epoch, if known

    def at(self, share: float) -> float:
        """What it had cost when that share of its epochs was over."""
        before = self.before or 0.0
        return before + share * (self.total - before)


def run_cost(runner: Runner) -> RunCost:
    """Operations of a whole run.

    Counted are the passes of synthesis and of training, and those of a choice
    of the blocks that the student starts from, or of fitting a pruned one.
    Validation, reports and what has neither convolutions nor matrix products
    are not.

    Args:
        runner (Runner): Of a run that was built and is not to be trained: its
            weights change.

    Returns:
        RunCost: Of all processes' steps as one process does them.
    """
    model = getattr(runner.model, 'module', runner.model)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    batch = _batch(runner)
    before, after = (
        0.0,
        runner.train_loop.max_iters
        * operations(lambda: model.train_step(batch, runner.optim_wrapper)),
    )
    hook = _synthesis_hook(runner)
    if hook is not None:
        synthesizer = hook.synthesizer
        rounds: List[Tuple[int, int, bool]] = [
            (hook.init_rounds, hook.init_iters, False),
            (runner.max_epochs * hook.rounds, synthesizer.iters, True),
        ]
        remembered = 0
        if getattr(runner.train_dataloader.dataset, 'init_bank', None):
            rounds.pop(0)
            remembered = synthesizer.memory_size  # at least, in most cases
        for number, iters, with_student in rounds:
            if not number:
                continue
            networks = Networks.from_algorithm(model)
            cost = round_cost(synthesizer, networks, with_student)
            made = 0.0
            if hook.target_views:
                views = number * synthesizer.images_of(iters)
                views *= hook.target_views
                made += views * _target_operations(networks, batch['inputs'])
            for _ in range(number):
                made += cost.of(iters, remembered)
                remembered = min(
                    remembered + synthesizer.images_of(iters),
                    synthesizer.memory_size,
                )
            if with_student:
                after += made
            else:
                before += made
    for hook in runner.hooks:
        if isinstance(hook, TeacherBlocksHook):
            inputs = example_inputs(runner, 1)
            teacher = Networks.from_algorithm(model).each_teacher[0]
            before += hook.images * choice_operations(
                teacher, inputs, chains_of(runner)
            )
        if isinstance(hook, RefitHook):
            inputs = example_inputs(runner, 1)
            networks = Networks.from_algorithm(model)
            before += hook.images * refit_operations(
                networks.each_teacher[0],
                networks.student,
                inputs,
                places_of(runner),
            )
    return RunCost((before + after) / 1e9, before / 1e9)


def choice_operations(
    teacher: Any, inputs: Tensor, chains: Sequence[Chain]
) -> float:
    """Operations of a choice of blocks, for each image it looks at.

    Args:
        teacher (nn.Module): Whose blocks they are.
        inputs (Tensor): One image, (1, C, H, W), normalised.
        chains (sequence[Chain]): Containers of them.
    """
    with unnoticed(teacher):
        return operations(lambda: choose_blocks(teacher, inputs, chains))


def refit_operations(
    teacher: Any, student: Any, inputs: Tensor, places: List[Place]
) -> float:
    """Operations of fitting a pruned student, for each image it looks at.

    Args:
        teacher (nn.Module): The network before it was pruned.
        student (nn.Module): The pruned one, which stays as it is.
        inputs (Tensor): One image, (1, C, H, W), normalised.
        places (list[Place]): Its layers that are fitted.
    """
    student = copy.deepcopy(student)
    with unnoticed(teacher):
        return operations(lambda: refit(teacher, student, inputs, places))


class RoundCost(NamedTuple):
    """Operations of a round."""

    once: float  # whatever the number of steps
    step: float  # of each, without images of the bank
    linear: float  # of each step and image of the bank
    quadratic: float  # of each step and pair of them

    def of(self, iters: int, remembered: int) -> float:
        """Those of so many steps, with so many images of the bank."""
        with_memory = remembered * (self.linear + self.quadratic * remembered)
        return self.once + iters * (self.step + with_memory)


def round_cost(
    synthesizer: ImageSynthesizer, networks: Networks, with_student: bool
) -> RoundCost:
    """What rounds cost, from short ones.

    Args:
        synthesizer (ImageSynthesizer): What makes them.
        networks (Networks): What they are made for.
        with_student (bool): Whether terms that look at the student count.

    Returns:
        RoundCost: The same for every number of steps.
    """
    # Compiled code and graphs are not counted, and there is a limit to how
    # often torch compiles the same function.
    before = synthesizer.with_compile, synthesizer.graph
    synthesizer.with_compile = synthesizer.graph = False
    try:
        return _round_cost(synthesizer, networks, with_student)
    finally:
        synthesizer.with_compile, synthesizer.graph = before


def _round_cost(
    synthesizer: ImageSynthesizer, networks: Networks, with_student: bool
) -> RoundCost:
    num_classes, shape = synthesizer.check(networks, with_student)
    synthesizer.prepare(networks, 0)
    capacity, width = synthesizer.memory.capacity, sum(synthesizer.widths)

    def count(steps: int, remembered: int) -> float:
        synthesizer.memory = FeatureMemory(capacity)
        if remembered:
            synthesizer.memory.add(torch.zeros(remembered, 2 * width))
        return operations(
            lambda: synthesizer.synthesize(
                networks,
                num_classes,
                seed=0,
                iters=steps,
                with_student=with_student,
            )
        )

    one, two = count(1, 0), count(2, 0)
    once, step, linear, quadratic = 2 * one - two, two - one, 0.0, 0.0
    few = min(synthesizer.memory_size // 2, 64)
    if few:
        few_more, twice = count(1, few) - one, count(1, 2 * few) - one
        quadratic = (twice - 2 * few_more) / (2 * few**2)
        linear = few_more / few - quadratic * few
        number = synthesizer.images_of(1)
        images = torch.zeros(number, *shape, dtype=torch.uint8)
        noting = operations(lambda: synthesizer.remember(networks, images))
        if synthesizer.keep == 'all':
            step += noting
        else:
            once += noting
    synthesizer.memory = FeatureMemory(capacity)
    return RoundCost(once, step, linear, quadratic)


def _target_operations(networks: Networks, images: torch.Tensor) -> float:
    """Of the target of one view of an image."""
    return operations(lambda: teacher_logits(networks, images[:1]))


def _synthesis_hook(runner: Runner) -> Any:
    return next(iter(synthesis_hooks(runner)), None)


def _batch(runner: Runner) -> Dict[str, Any]:
    """A batch of training; in place of a bank's images, black ones."""
    loader = runner.train_dataloader
    if not isinstance(loader.dataset, ImageBank):
        return next(iter(loader))
    model = getattr(runner.model, 'module', runner.model)
    size = min(loader.batch_size, len(loader.sampler))
    shape = getattr(model, 'image_shape', None)
    if shape is None:
        networks = Networks.from_algorithm(model)
        shape = _synthesis_hook(runner).synthesizer.check(networks)[1]
    batch = dict(
        inputs=torch.zeros(size, *shape, dtype=torch.uint8),
        labels=torch.zeros(size, dtype=torch.int64),
    )
    hook = _synthesis_hook(runner)
    views = (hook.target_views,) if hook and hook.target_views else ()
    if views or (hook and hook.synthesizer.keep_targets):
        # Runs the teacher, once.
        kept_maps = model.check_targets(hook.target_maps)
        classes = hook.synthesizer.check(Networks.from_algorithm(model))[0]
        batch['targets'] = torch.zeros(size, *views, classes).half()
        if kept_maps is not None:
            # Losses may divide by the size of maps.
            batch['maps'] = torch.ones(size, *views, kept_maps.size).half()
    if views:
        batch['draws'] = torch.zeros(size, *views, 3, dtype=torch.uint8)
    return batch

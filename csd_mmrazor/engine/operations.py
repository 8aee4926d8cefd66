# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run costs in floating-point operations, which no machine blurs.

One step of each kind is counted, see :mod:`.flops`, and multiplied by the
number of steps.
"""

from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.runner import Runner

from ..datasets import ImageBank
from ..models.synthesizers import ImageSynthesizer, Networks
from .flops import operations
from .hooks import SynthesisHook

# Images of the bank that a round looks at are counted on so many.
_FEW = 64


def count_operations(runner: Runner) -> float:
    """Operations of a whole run, in GFLOP (1e9).

    Counted are the passes of synthesis and of training. Validation, reports
    and what has neither convolutions nor matrix products are not.

    Args:
        runner (Runner): Of a run that was built and is not to be trained: its
            weights change.

    Returns:
        float: Of all processes' steps as one process does them.
    """
    model = getattr(runner.model, 'module', runner.model)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    batch = _batch(runner)
    total = runner.train_loop.max_iters * operations(
        lambda: model.train_step(batch, runner.optim_wrapper)
    )
    hook = next(
        (h for h in runner.hooks if isinstance(h, SynthesisHook)), None
    )
    if hook is not None:
        rounds: List[Tuple[int, Optional[int], bool]] = [
            (runner.max_epochs * hook.rounds, None, True)
        ]
        if not getattr(runner.train_dataloader.dataset, 'init_bank', None):
            rounds.append((hook.init_rounds, hook.init_iters, False))
        for number, iters, with_student in rounds:
            if number:
                total += number * round_operations(
                    hook.synthesizer,
                    Networks.from_algorithm(model),
                    iters,
                    with_student,
                )
    return total / 1e9


def round_operations(
    synthesizer: ImageSynthesizer,
    networks: Networks,
    iters: Optional[int] = None,
    with_student: bool = True,
) -> float:
    """Operations of one round of synthesis.

    Args:
        synthesizer (ImageSynthesizer): What makes it.
        networks (Networks): What it is made for.
        iters (int, optional): Its steps. Defaults to the synthesizer's.
        with_student (bool): Whether terms that look at the student count.
            Defaults to True.

    Returns:
        float: Their number.
    """
    num_classes, shape = synthesizer.check(networks, with_student)
    device = next(networks.teachers.parameters()).device
    synthesizer.prepare(networks, 0)
    few = min(synthesizer.memory_size, _FEW)
    memory = None
    if few:
        memory = torch.zeros(few, *shape, dtype=torch.uint8, device=device)

    def count(steps: int, memory: Optional[torch.Tensor]) -> float:
        return operations(
            lambda: synthesizer.synthesize(
                networks,
                num_classes,
                seed=0,
                iters=steps,
                with_student=with_student,
                memory=memory,
            )
        )

    one, two = count(1, None), count(2, None)
    total = one + (two - one) * ((iters or synthesizer.iters) - 1)
    if few:
        share = synthesizer.memory_size / few
        total += (count(1, memory) - one) * share
    return total


def _synthesis_hook(runner: Runner) -> Any:
    hooks = [h for h in runner.hooks if isinstance(h, SynthesisHook)]
    return hooks[0] if hooks else None


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
    return dict(
        inputs=torch.zeros(size, *shape, dtype=torch.uint8),
        labels=torch.zeros(size, dtype=torch.int64),
    )

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, Optional

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed
from mmrazor.registry import HOOKS

from ...utils import derive_seed
from ..synthesis import STEP
from .synthesis_hook import synthesis_hooks


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Lets each training step draw from a seed of its own.

    For algorithms that draw noise in their steps, such as MMRazor's
    ``DataFreeDistillation``: a run that is resumed draws what it would have
    drawn without a stop. ``SynthesisHook`` does so for each epoch.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Refuse to replace the seeds of epochs."""
        if synthesis_hooks(runner):
            raise ValueError(
                'StepSeedHook is not for runs with SynthesisHook, which '
                'gives each epoch a seed: leave it out.'
            )

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Seed the step."""
        assert runner.seed is not None
        set_random_seed(
            derive_seed(runner.seed, STEP, runner.iter, get_rank())
        )

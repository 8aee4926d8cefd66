# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, Optional

from mmengine.hooks import RuntimeInfoHook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS


def is_reported(runner: Runner) -> bool:
    """Whether the losses of this step are to be read off the device.

    So they are every ``log_interval`` steps of an algorithm that has one, and
    in each step of any other.
    """
    model = getattr(runner.model, 'module', runner.model)
    return runner.iter % getattr(model, 'log_interval', 1) == 0


@HOOKS.register_module()
class LossReportHook(RuntimeInfoHook):
    """MMEngine's ``RuntimeInfoHook``, but it waits for few losses.

    That one reads every loss of every step, each of which waits for the
    device. This one reads those of ``model.log_interval``; all hooks get
    those of all steps, as tensors on the device.
    """

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict[str, Any]] = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Take over the losses for the log, if they are reported."""
        if is_reported(runner):
            super().after_train_iter(runner, batch_idx, data_batch, outputs)

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, Optional

from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmrazor.registry import HOOKS


def is_reported(runner: Runner, batch_idx: int) -> bool:
    """Whether the losses of this step are to be read off the device.

    So they are every ``log_interval`` steps of an algorithm that has one, and
    in each step of any other. Of steps that ``LoggerHook`` writes a line of,
    among them the last of an epoch, they are read as well.

    Args:
        runner (Runner): In training.
        batch_idx (int): Of the step, in its epoch.
    """
    model = getattr(runner.model, 'module', runner.model)
    if runner.iter % getattr(model, 'log_interval', 1) == 0:
        return True
    if any(
        isinstance(hook, LoggerHook)
        and hook.every_n_inner_iters(batch_idx, hook.interval)
        for hook in runner.hooks
    ):
        return True
    return isinstance(
        runner.train_loop, EpochBasedTrainLoop
    ) and batch_idx + 1 == len(runner.train_dataloader)


@HOOKS.register_module()
class LossReportHook(RuntimeInfoHook):
    """MMEngine's ``RuntimeInfoHook``, but it waits for few losses.

    That one reads every loss of every step, each of which waits for the
    device. This one reads those of :func:`is_reported`, and those that
    ``log_processor.custom_cfg`` has statistics of, whose windows count steps;
    all hooks get those of all steps, as tensors on the device.
    """

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict[str, Any]] = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Take over the losses for the log, if they are reported."""
        if not is_reported(runner, batch_idx):
            # Processors of one's own may have none.
            windows = getattr(runner.log_processor, 'custom_cfg', ())
            of_windows = {cfg['data_src'] for cfg in windows}
            outputs = {
                name: value
                for name, value in (outputs or {}).items()
                if name in of_windows
            }
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

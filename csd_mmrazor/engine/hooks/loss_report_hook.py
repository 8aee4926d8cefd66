# Copyright (c) csd_mmrazor developers. All rights reserved.
import math
from typing import Any, Dict, Optional

from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.logging import HistoryBuffer
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    LogProcessor,
    Runner,
)
from mmrazor.registry import HOOKS

_MOST = HistoryBuffer().max_length
# Statistics that look at no more than their window.
_OF_WINDOWS = ('max', 'mean', 'min')
# What MMEngine notes of each batch of a validation or test.
_TIMES = ('time', 'data_time')


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

    Of what is noted of each step (losses, rates, times), it keeps as many
    values as :func:`longest_window` says, where MMEngine keeps, saves in each
    checkpoint, and copies in each step a million. Metrics are kept.
    """

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict[str, Any]] = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Take over the losses for the log, if they are reported."""
        reported = is_reported(runner, batch_idx)
        if not reported:
            # Processors of one's own may have none.
            windows = getattr(runner.log_processor, 'custom_cfg', ())
            of_windows = {cfg['data_src'] for cfg in windows}
            outputs = {
                name: value
                for name, value in (outputs or {}).items()
                if name in of_windows
            }
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if reported:
            _keep_windows(runner)


def longest_window(runner: Runner, mode: str, name: str) -> float:
    """How many of the latest values the log may need of one that it has.

    Args:
        runner (Runner): In training.
        mode (str): 'train' or 'val'.
        name (str): Of the value, without the mode.

    Returns:
        float: 1 or more; infinite if it may need all.
    """
    processor = runner.log_processor
    if type(processor) is not LogProcessor:
        return math.inf  # it may look at anything
    windows = [processor.window_size]
    if mode != 'train':
        windows.append('epoch')
    for cfg in processor.custom_cfg:
        if cfg['data_src'] in (name, f'{mode}/{name}'):
            is_known = cfg.get('method_name') in _OF_WINDOWS
            windows.append(cfg.get('window_size') if is_known else None)
    return max(_length(runner, mode, window) for window in windows)


def _length(runner: Runner, mode: str, window: Any) -> float:
    if isinstance(window, int) and window > 0:
        return window
    if window != 'epoch':
        return math.inf
    loop = runner.train_loop if mode == 'train' else runner.val_loop
    if loop is None or isinstance(loop, IterBasedTrainLoop):
        return math.inf  # such a loop counts steps as if it were one epoch
    return len(loop.dataloader) + 1  # MMEngine's is one more in validations


def _keep_windows(runner: Runner) -> None:
    """Let buffers of the log drop what none of its windows has any more."""
    for key, buffer in runner.message_hub.log_scalars.items():
        mode, _, name = key.partition('/')
        if mode == 'train' or (mode == 'val' and name in _TIMES):
            length = longest_window(runner, mode, name)
            buffer.max_length = int(min(length, _MOST))

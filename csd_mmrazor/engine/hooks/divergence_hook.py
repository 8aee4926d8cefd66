# Copyright (c) csd_mmrazor developers. All rights reserved.
import math
from typing import Any, Dict, Optional

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ...utils import list_checkpoints
from .finished_bank_checks import check_finished_bank
from .loss_report_hook import is_reported
from .synthesis_hook import share_buffers, synthesis_hooks

# Share of the loss that one of its parts is told from.
_MOST = 0.8


@HOOKS.register_module()
class DivergenceHook(Hook):
    """Stops a run whose weights are NaN or Inf.

    They are looked at before each checkpoint, so that none is written of
    them, and when a reported loss is NaN or Inf. That loss
    alone stops nothing: under float16 the step is skipped then. Processes
    have the same weights, so all come to the same result; a step without
    report waits for nothing.

    Where no ``SynthesisHook`` does so, it checks networks and bank before the
    first step, and gives the first process's BN statistics to all after each
    epoch. It also does the latter before each validation, which may be
    within an epoch, or of means that an ``EMAHook`` has.
    """

    # After the optimizer's step, before the checkpoint.
    priority = 'LOW'
    # What most of the last reported loss was.
    _most = ''

    def before_train(self, runner: Runner) -> None:
        """Refuse networks that cannot be worked with on a finished bank."""
        if not synthesis_hooks(runner):
            check_finished_bank(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict[str, Any]] = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        """Look at the weights if a loss that is reported asks for it."""
        if not is_reported(runner, batch_idx):
            return
        found = {
            name: value.detach()
            for name, value in (outputs or {}).items()
            if torch.is_tensor(value)
        }
        if not found:
            return
        losses = dict(zip(found, torch.stack([*found.values()]).tolist()))
        if all(map(math.isfinite, losses.values())):
            self._most = largest_loss(losses, runner.iter + 1)
        else:
            self._check(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look at the weights that are about to be saved."""
        if not synthesis_hooks(runner):
            share_buffers(runner.model)
        self._check(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Let all processes validate the network that is saved."""
        share_buffers(runner.model)

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: Dict[str, Any]
    ) -> None:
        """Look at them before one is saved within an epoch, too."""
        self._check(runner)

    def _check(self, runner: Runner) -> None:
        """Raise an error if there is a weight that is not finite."""
        model = getattr(runner.model, 'module', runner.model)
        state = {
            name: value
            for name, value in model.state_dict().items()
            if value.is_floating_point()
        }
        finite = torch.stack([v.isfinite().all() for v in state.values()])
        if finite.all():
            return
        bad = [name for name, ok in zip(state, finite.tolist()) if not ok]
        message = (
            f'The training diverged in epoch {runner.epoch + 1}, by step '
            f'{runner.iter + 1}: {len(bad)} of {len(state)} weights became '
            f'NaN or Inf, such as {bad[0]}. {self._most}'
            f'{_advice(runner, bad[0].split(".")[0])}'
        )
        runner.logger.error(message)  # or its log would not say why it ended
        raise FloatingPointError(message)


def largest_loss(losses: Dict[str, float], step: int) -> str:
    """Say which of a step's losses is most of their sum, if one is.

    Args:
        losses (dict[str, float]): By name; ``loss`` is their sum.
        step (int): Its number.

    Returns:
        str: A sentence and a space, or nothing.
    """
    total = losses.get('loss', 0.0)
    parts = {k: v for k, v in losses.items() if k != 'loss' and 'loss' in k}
    name = max(parts, key=parts.__getitem__, default='')
    if not name or not 0 < _MOST * total <= parts[name]:
        return ''
    return (
        f'In step {step}, {name} was {parts[name]:.3g} of a loss of '
        f'{total:.3g}: a lower weight of it may do. '
    )


def _advice(runner: Runner, part: str) -> str:
    """What to do if weights of a part of the algorithm diverged."""
    wrapper, other = 'optim_wrapper', ''
    if isinstance(runner.optim_wrapper, OptimWrapperDict):
        wrapper = 'optim_wrapper.architecture'
        if part != 'architecture' and part in runner.optim_wrapper:
            # Perhaps by features of a student that grew too large.
            other = f' or optim_wrapper.{part}.optimizer.lr'
    again = f'start again with a lower {wrapper}.optimizer.lr{other}.'
    if not list_checkpoints(runner.work_dir):
        return f'S{again[1:]}'
    return (
        'The checkpoint before it is complete. Set '
        f'{wrapper}.clip_grad=dict(max_norm=5) and --resume from it, or '
        f'{again}'
    )

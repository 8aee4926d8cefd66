# Copyright (c) csd_mmrazor developers. All rights reserved.
import time
from typing import Any, Dict, Optional, Sequence, Union

from mmengine.hooks import IterTimerHook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ...utils.run_clock import RunClock
from ..run_plan import is_training, validations_left
from .synthesis_hook import synthesis_hooks


@HOOKS.register_module()
class RunTimerHook(IterTimerHook):
    """MMEngine's ``IterTimerHook``, but its remaining time is the whole run's.

    That one counts the student steps that are left, or the batches of a
    validation. This one counts initial rounds, rounds of epochs, student
    steps, validations, and what else an epoch takes (checkpoints, reports).
    Each takes as long as so far. It logs what each took as ``time/...``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = RunClock()
        self._logged: Dict[str, float] = {}
        self._since: Optional[float] = None
        self._accounted = 0.0
        self._val_start = self._step_start = 0.0

    def before_train(self, runner: Runner) -> None:
        """Take over the clock of the initial bank, which is made by now."""
        super().before_train(runner)
        hooks = synthesis_hooks(runner)
        if hooks:
            self.clock = hooks[0].clock
        self._set_left(runner)
        self._log(runner, runner.epoch, 'initial')

    def before_train_epoch(self, runner: Runner) -> None:
        """Note what the epoch before took, and set out the rest."""
        super().before_train_epoch(runner)
        now, spent = time.monotonic(), sum(self.clock.seconds.values())
        if self._since is not None:
            # This one's rounds are made by now, in time of their own.
            other = now - self._since - (spent - self._accounted)
            self.clock.spend('other', 1, max(other, 0.0))
        self._since = now
        self._accounted = sum(self.clock.seconds.values())
        self._step_start = now
        self._set_left(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Log what the epoch took so far."""
        super().after_train_epoch(runner)
        self._log(runner, runner.epoch, 'synthesis', 'student')

    def before_val_epoch(self, runner: Runner) -> None:
        super().before_val_epoch(runner)
        self._val_start = time.monotonic()

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, float]] = None
    ) -> None:
        """Log what the validation took."""
        super().after_val_epoch(runner, metrics)
        if not is_training(runner):
            return
        self.clock.spend('validation', 1, time.monotonic() - self._val_start)
        self._step_start = time.monotonic()
        self._set_left(runner)
        self._log(runner, max(runner.epoch - 1, 0), 'validation')

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Union[Dict[str, Any], Sequence[Any]]] = None,
        mode: str = 'train',
    ) -> None:
        super()._after_iter(runner, batch_idx, data_batch, outputs, mode)
        if mode == 'train':
            now = time.monotonic()
            self.clock.spend('student', 1, now - self._step_start)
            self._step_start = now
            self.clock.left['student'] = runner.max_iters - runner.iter - 1
        elif mode == 'val' and is_training(runner):
            share = (batch_idx + 1) / len(runner.val_dataloader)
            seconds = time.monotonic() - self._val_start
            if not self.clock.seconds['validation']:
                # The first one shows itself how long it takes.
                self.clock.expected['validation'] = seconds / share
            left = validations_left(runner)
            self.clock.left['validation'] = left + 1 - share
        else:
            return
        runner.message_hub.update_info('eta', self.clock.remaining())

    def _set_left(self, runner: Runner) -> None:
        """What is left when no loop is under way."""
        left = self.clock.left
        left['student'] = runner.max_iters - runner.iter
        left['validation'] = validations_left(runner)
        left['other'] = max(runner.max_epochs - runner.epoch, 0)

    def _log(self, runner: Runner, step: int, *kinds: str) -> None:
        """Log what kinds of work took since they were logged last."""
        spent = {}
        for kind in kinds:
            seconds = self.clock.seconds[kind]
            spent[f'time/{kind}'] = seconds - self._logged.get(kind, 0.0)
            self._logged[kind] = seconds
        if any(spent.values()):
            runner.visualizer.add_scalars(spent, step=step)

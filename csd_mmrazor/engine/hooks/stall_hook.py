# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import suppress
from typing import Any, Dict, Optional, Set

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmrazor.registry import HOOKS

from ...datasets import ImageBank
from ...report import advise
from ...report.run_files import agreement_of, answers_top1
from ...utils.scalars import read_scalars
from ..run_plan import is_training
from .report_hook import ReportHook


@HOOKS.register_module()
class StallHook(Hook):
    """Warns while a run does not do well, and says what to try.

    It looks at what was logged: whether the teacher recognises new images,
    and whether the student's accuracy, or without validation its agreement
    with the teacher, is above chance, collapses or no longer rises (the
    latter two on images that stay the same); see
    ``csd_mmrazor.report.advise``. Each of it is said when it begins. It reads
    MMEngine's local log, so it knows of earlier starts of the run, and says
    nothing without a ``LocalVisBackend``.
    """

    # After the values were logged.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._told: Set[str] = set()

    def before_train_epoch(self, runner: Runner) -> None:
        """Look at the images of the epoch."""
        self._look(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look at the agreement, where no validation follows."""
        if runner.val_loop is None:
            self._look(runner)

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, Any]] = None
    ) -> None:
        """Look at the accuracy."""
        self._look(runner)

    def _look(self, runner: Runner) -> None:
        if not is_main_process() or not is_training(runner):
            return
        with suppress(OSError):  # no log, no advice
            found = self._advice(runner)
            found.pop('initial', None)  # is said when they are made
            for key in found.keys() - self._told:
                runner.logger.warning(found[key])
            # What has passed may be said again.
            self._told = set(found)

    def _advice(self, runner: Runner) -> Dict[str, str]:
        scalars = read_scalars(runner.work_dir)
        bank = runner.train_dataloader.dataset
        is_open = isinstance(bank, ImageBank) and bank.folder is not None
        measured = next(
            (h.measured for h in runner.hooks if isinstance(h, ReportHook)), {}
        )
        initial = scalars.get('initial/teacher_top1', {})
        is_epochs = isinstance(runner.train_loop, EpochBasedTrainLoop)
        return advise(
            scalars.get('accuracy/top1', {}),
            scalars.get('synthesis/teacher_top1', {}),
            initial[max(initial)] if initial else None,
            bank.opened.num_classes if is_open else None,
            runner.max_epochs if is_epochs else None,
            answers_top1(measured, 'teacher'),
            *agreement_of(scalars),
        )

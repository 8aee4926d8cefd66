# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager
from typing import Dict, Iterator

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """MMEngine's, but at no moment without a whole checkpoint.

    An older checkpoint is removed when the newer one is on the disk, not
    before. A resumed run first repeats the validation of its checkpoint,
    which is written before that validation: it may have been killed in it.
    """

    def before_train(self, runner: Runner) -> None:
        """Validate what was resumed, where that was due."""
        super().before_train(runner)
        loop = runner.train_loop
        if (
            self.by_epoch
            and runner._resume
            and runner.val_loop is not None
            and runner.epoch >= max(loop.val_begin, 1)
            and (
                runner.epoch % loop.val_interval == 0
                or runner.epoch == runner.max_epochs
            )
        ):
            runner.val_loop.run()

    def _save_checkpoint(self, runner: Runner) -> None:
        with self._removals_last():
            super()._save_checkpoint(runner)

    def _save_best_checkpoint(self, runner: Runner, metrics: Dict) -> None:
        with self._removals_last():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removals_last(self) -> Iterator[None]:
        """Put off what is removed until all is written."""
        backend, removed = self.file_backend, []
        backend.remove = removed.append
        try:
            yield
        finally:
            del backend.remove
        current = [
            self.last_ckpt,
            getattr(self, 'best_ckpt_path', None),
            *getattr(self, 'best_ckpt_path_dict', {}).values(),
        ]
        for path in removed:
            if path not in current:
                backend.remove(path)

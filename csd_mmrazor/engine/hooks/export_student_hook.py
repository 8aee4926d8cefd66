# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ...export import export_student, find_checkpoint, notes
from ...utils import path_below


@HOOKS.register_module()
class ExportStudentHook(Hook):
    """Leaves the student of the best epoch as a plain classifier.

    At the end of a run the work dir has it in a few MB, without teacher,
    connectors, head and optimizer, for mmpretrain. Of a run that was not
    validated it is the last epoch's. ``tools/export_student.py`` does the
    same for any checkpoint.

    Args:
        out (str): The file, below the work dir; the config is beside it.
            Defaults to 'student/student.pth'.
    """

    # After the last checkpoint.
    priority = 'LOWEST'

    def __init__(self, out: str = 'student/student.pth') -> None:
        if not out.endswith('.pth'):
            raise ValueError(
                'out of ExportStudentHook should end with .pth, but got '
                f'{out!r}.'
            )
        self.out = out

    def before_run(self, runner: Runner) -> None:
        """Refuse a file that another run may write as well."""
        path_below(runner.work_dir, self.out, 'out of ExportStudentHook')

    def after_train(self, runner: Runner) -> None:
        """Export the student."""
        if not is_main_process():
            return
        try:
            checkpoint = find_checkpoint(runner.work_dir)
        except FileNotFoundError as error:
            runner.logger.warning(f'No student is exported: {error}')
            return
        exported = export_student(
            runner.cfg, checkpoint, Path(runner.work_dir, self.out)
        )
        for line in notes(exported):
            runner.logger.info(line)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import re
from pathlib import Path
from shlex import quote
from typing import Optional, Tuple, Union

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ...export import (
    ExportedStudent,
    check_free,
    check_license,
    export_student,
    find_checkpoint,
    notes,
)
from ...utils import path_below
from ...utils.error_text import named_error
from ..run_plan import is_training

# Of the run, and not of its student alone.
_CHECKPOINTS = re.compile(r'((best|replaced)_.*|(epoch|iter)_\d+)\.pth')


@HOOKS.register_module()
class ExportStudentHook(Hook):
    """Leaves the student of a run as files for use elsewhere.

    At the end of a run the work dir has it in a few MB, without teacher,
    connectors, head and optimizer; see
    :func:`csd_mmrazor.export.export_student`. It is that of
    ``best_*.pth``, and of the last epoch where there is no such file.
    ``tools/export_student.py`` does the same for any
    checkpoint. A run that is finished stays finished if the export fails,
    which a rehearsal tries before.

    Args:
        out (str): The file of the weights, below the work dir; the others
            are beside it. Defaults to 'student/student.pth'.
        onnx (bool): Whether to write an ONNX file as well. Defaults to False.
        program (bool): Whether to write a program of ``torch.export`` as
            well, .pt2. Defaults to False.
        normalize (bool): Whether these two take images in [0, 1] and
            normalise them, or take normalised ones. Defaults to False.
        teacher_license (str, optional): What the teacher may be used under,
            such as 'apache-2.0', for the model card. Defaults to None, not
            given.
    """

    # After the last checkpoint.
    priority = 'LOWEST'

    def __init__(
        self,
        out: str = 'student/student.pth',
        onnx: bool = False,
        program: bool = False,
        normalize: bool = False,
        teacher_license: Optional[str] = None,
    ) -> None:
        if not out.endswith('.pth'):
            raise ValueError(
                'out of ExportStudentHook should end with .pth, but got '
                f'{out!r}.'
            )
        if normalize and not (onnx or program):
            raise ValueError(
                'normalize=True of ExportStudentHook is for the ONNX file and '
                'the program: set onnx=True or program=True as well.'
            )
        check_license('teacher_license of ExportStudentHook', teacher_license)
        self.out, self.teacher_license = out, teacher_license
        self.onnx, self.program, self.normalize = onnx, program, normalize

    def before_run(self, runner: Runner) -> None:
        """Refuse a file that is, or may become, another's."""
        path_below(runner.work_dir, self.out, 'out of ExportStudentHook')
        if _CHECKPOINTS.fullmatch(self.out):
            raise ValueError(
                f'out={self.out!r} of ExportStudentHook is the name of a '
                'checkpoint of the run: choose another.'
            )
        if is_training(runner) and is_main_process():
            check_free(*self._paths(runner.work_dir))

    def export(
        self, cfg: Config, checkpoint: Union[str, Path], work_dir: str
    ) -> ExportedStudent:
        """Export the student of a checkpoint.

        Args:
            cfg (Config): The run's.
            checkpoint (str | Path): The run's.
            work_dir (str): Below which the files are written.
        """
        paths = self._paths(work_dir)
        return export_student(
            *(cfg, checkpoint, *paths, self.normalize, self.teacher_license),
            is_own_folder=paths[0].parent != Path(work_dir),
        )

    def _paths(
        self, work_dir: str
    ) -> Tuple[Path, Optional[Path], Optional[Path]]:
        """Where weights, ONNX file and program go to."""
        out = Path(work_dir, self.out)
        return (
            out,
            out.with_suffix('.onnx') if self.onnx else None,
            out.with_suffix('.pt2') if self.program else None,
        )

    def after_train(self, runner: Runner) -> None:
        """Export the student."""
        if not is_main_process():
            return
        try:
            checkpoint = find_checkpoint(runner.work_dir)
        except FileNotFoundError as error:
            runner.logger.warning(f'No student is exported: {error}')
            return
        try:
            exported = self.export(runner.cfg, checkpoint, runner.work_dir)
        except Exception as error:
            runner.logger.warning(
                'The run is finished, but its student could not be exported. '
                f'It is in {checkpoint}: python tools/export_student.py '
                f'{quote(str(checkpoint))} OUT.pth tries again. '
                f'{named_error(error)}',
                exc_info=True,
            )
            return
        for line in notes(exported):
            runner.logger.info(line)

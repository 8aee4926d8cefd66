# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmrazor.registry import HOOKS

from ...datasets import ImageBank
from ...models.synthesizers import Networks
from ...models.utils import logits_of
from ...report import (
    Measurements,
    chosen_images,
    read_measurements,
    write_measurements,
    write_report,
)
from ..measure import (
    describe_machine,
    measure_network,
    score_images,
    unnoticed,
    versions,
)
from ..run_plan import is_training

_ROLES = ('teacher', 'student')


@HOOKS.register_module()
class ReportHook(Hook):
    """Writes the report of a run, ``report.html`` in its work dir.

    It is written after each epoch and at the end, by the first process.
    Before that, ``report.json`` gets what no other file of the work dir has:
    the answers of teacher and student in validation, size and speed of both,
    and how hard some images of the bank are for the student. The run itself
    is bit by bit the same with and without this hook. An error in it becomes
    a warning.

    Args:
        images (int): Images of the bank that are shown; 0 shows none and
            measures none. Defaults to 960.
    """

    # After everything that the report tells of.
    priority = 'LOWEST'

    def __init__(self, images: int = 960) -> None:
        if type(images) is not int or images < 0:
            raise ValueError(
                'images of ReportHook should be an integer, 0 or more, but '
                f'got {images!r}.'
            )
        self.images = images
        self.measured: Measurements = {}
        self._networks: Optional[Networks] = None
        # Labels and answers of a validation, batch by batch.
        self._answers: Dict[str, List[Any]] = {}
        self._teacher_is_known = False
        # What the teacher says of images of the bank.
        self._known: Dict[Tuple[str, int], Tuple[int, float]] = {}
        self._told: List[str] = []

    def before_run(self, runner: Runner) -> None:
        """Take over what an earlier start of the run measured."""
        with self._warns('what was measured before'):
            known = runner._resume and read_measurements(runner.work_dir)
            self.measured = known or {}
            images = self.measured.get('images', {})
            # A list in the file.
            images['scores'] = [
                [*key, *value]
                for key, value in images.get('scores', {}).items()
            ]

    def before_train(self, runner: Runner) -> None:
        """Measure the networks."""
        if not is_main_process():
            return
        with self._warns('the networks'):
            networks = Networks.from_algorithm(runner.model)
            device = next(networks.teachers.parameters()).device
            self.measured.update(
                machine=describe_machine(device), versions=versions()
            )
            bank = runner.train_dataloader.dataset
            if isinstance(bank, ImageBank) and bank.folder is not None:
                shape = bank.folder.image_shape
                inputs = networks.normalize(
                    torch.zeros(1, *shape, dtype=torch.uint8, device=device)
                )
                models = (networks.each_teacher[0], networks.student)
                self.measured['networks'] = {
                    role: measure_network(model, inputs)
                    for role, model in zip(_ROLES, models)
                }
        self._write(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Start to collect answers."""
        self._answers = {'labels': [], 'student': [], 'teacher': []}
        self._networks = None
        with self._warns('the answers in validation'):
            if is_training(runner):
                self._networks = Networks.from_algorithm(runner.model)
                scores = runner.message_hub.runtime_info
                if not any(str(s).startswith('best_score') for s in scores):
                    # Its answers may be on other images than those to come.
                    self.measured.get('validation', {}).pop('student', None)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Dict[str, Any]] = None,
        outputs: Optional[Sequence[Any]] = None,
    ) -> None:
        """Collect what the student, and once the teacher, takes images for."""
        networks = self._networks
        if networks is None:
            return
        self._networks = None
        with self._warns('the answers in validation'):
            found = outputs or ()
            labels = torch.cat([each.gt_label for each in found])
            answers = torch.cat([each.pred_label for each in found])
            if len(labels) != len(found) or len(answers) != len(found):
                raise ValueError('images have several labels, or none')
            self._answers['labels'].append(labels.cpu().numpy())
            self._answers['student'].append(answers.cpu().numpy())
            if not self._teacher_is_known:
                model = getattr(runner.model, 'module', runner.model)
                teacher = networks.each_teacher[0]
                with unnoticed(teacher):
                    data = model.data_preprocessor(data_batch, False)
                    logits = logits_of(teacher(data['inputs'], mode='tensor'))
                self._answers['teacher'].append(logits.argmax(1).cpu().numpy())
            self._networks = networks  # goes on

    def after_val_epoch(
        self, runner: Runner, metrics: Optional[Dict[str, Any]] = None
    ) -> None:
        """Count the answers of all processes, and write the report."""
        if not is_training(runner):
            return
        mine = {
            name: np.concatenate(parts)
            for name, parts in self._answers.items()
            if parts
        }
        # All processes come here, whatever became of their images.
        parts = all_gather_object(mine if self._networks else {})
        self._networks, self._answers = None, {}
        self._teacher_is_known = True
        with self._warns('the answers in validation'):
            dataset = runner.val_dataloader.dataset
            self._note_answers(runner, parts, dataset)
            names = getattr(dataset, 'metainfo', {}).get('classes') or ()
            self.measured['classes'] = [str(name) for name in names]
        self._write(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Write the report, if no validation follows."""
        loop = runner.train_loop
        epoch = runner.epoch + 1
        follows = (
            runner.val_loop is not None
            and epoch >= getattr(loop, 'val_begin', 1)
            and (
                epoch % getattr(loop, 'val_interval', 1) == 0
                or epoch == runner.max_epochs
            )
        )
        if not follows:
            self._write(runner)

    def after_run(self, runner: Runner) -> None:
        """Write the report of the whole run."""
        if is_training(runner):
            self._write(runner)

    def _note_answers(
        self, runner: Runner, parts: List[Dict[str, Any]], dataset: Any
    ) -> None:
        """Count how often each class was taken for each."""
        if not all(parts):
            return
        validation = self.measured.setdefault('validation', {})
        for role in _ROLES:
            if not all(role in part for part in parts):
                continue
            labels, answers = (
                _interleaved([part[name] for part in parts])[: len(dataset)]
                for name in ('labels', role)
            )
            pairs, numbers = np.unique(
                np.stack([labels, answers]), axis=1, return_counts=True
            )
            found = dict(
                epoch=runner.epoch,
                counts=np.vstack([pairs, numbers]).T.tolist(),
            )
            best = validation.get(role, {}).get('counts', ())
            # Only the student that is exported counts.
            if not _keeps_best(runner) or (
                role == 'teacher' or _right(found['counts']) > _right(best)
            ):
                validation[role] = found

    def _write(self, runner: Runner) -> None:
        """Score images and write both files."""
        if not is_main_process():
            return
        with self._warns('the images of the bank'):
            bank = getattr(runner.train_dataloader, 'dataset', None)
            if isinstance(bank, ImageBank) and bank.folder and self.images:
                rounds, _ = chosen_images(bank.folder, self.images)
                networks = Networks.from_algorithm(runner.model)
                scores = score_images(networks, rounds, self._known)
                self.measured['images'] = dict(
                    epoch=runner.epoch, scores=scores
                )
        with self._warns('report.json'):
            write_measurements(runner.work_dir, self.measured)
        with self._warns('report.html'):
            write_report([runner.work_dir])

    @contextmanager
    def _warns(self, what: str) -> Iterator[None]:
        """Make an error a warning, the first time that it occurs."""
        try:
            yield
        except Exception as error:
            text = (
                f'The report lacks {what}: {type(error).__name__}: '
                f'{error!s:.500}. The run goes on.'
            )
            if text not in self._told:
                self._told.append(text)
                print_log(text, logger='current', level=logging.WARNING)


def _interleaved(parts: List[Any]) -> Any:
    """What processes have of a data set, in its order.

    Samplers deal images out in turn; the last ones may be there twice.
    """
    longest = max(map(len, parts))
    padded = np.full((longest, len(parts)), -1)
    for number, part in enumerate(parts):
        padded[: len(part), number] = part
    flat = padded.reshape(-1)
    return flat[flat >= 0]


def _keeps_best(runner: Runner) -> bool:
    """Whether the best student stays, and not just the last one."""
    return any(
        isinstance(hook, CheckpointHook) and hook.save_best
        for hook in runner.hooks
    )


def _right(counts: Sequence[Sequence[int]]) -> int:
    return sum(images for label, answer, images in counts if label == answer)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Estimate a student's accuracy without a label."""

import argparse
import json
import math
import os
from functools import partial
from pathlib import Path
from typing import Any, Dict, List

from ..datasets import BankFolder, ImageBank
from ..engine.agreement_images import bank_images, bank_labels, compare
from ..export import find_checkpoint
from ..models.preprocessors import normalize_images
from ..models.synthesizers import Networks
from ..utils import check_integer, check_teachers, write_file
from ..utils.accuracy import (
    COVERAGE,
    FITS,
    RECOGNISED,
    error_of,
    estimate_accuracy,
    few_images,
)
from ..utils.alone import check_alone
from ..version import __version__
from .errors import concise_errors
from .processes import speak_utf8
from .run_source import Run, add_run_arguments, has_key, is_teacher

_IMAGES = 2000
_WRITTEN_BY = f'csd_mmrazor {__version__}'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Estimate a student's accuracy by synthetic images"
    )
    add_run_arguments(
        parser, 'student', _IMAGES, 'how many are looked at, at most'
    )
    parser.add_argument(
        '--teacher-accuracy',
        type=float,
        metavar='PERCENT',
        help="the teacher's, where the student is to work, such as 93.4; "
        'without it, the estimate is a share of it',
    )
    parser.add_argument(
        '--out', metavar='OUT.json', help='write what is told as JSON, too'
    )
    return parser.parse_args()


def estimate(args: argparse.Namespace) -> Dict[str, Any]:
    """Estimate the accuracy of the network that the arguments name.

    Returns:
        dict: What ``OUT.json`` says.
    """
    check_integer('--images', args.images)
    accuracy = args.teacher_accuracy
    if accuracy is not None and not 1 < accuracy <= 100:
        raise ValueError(
            '--teacher-accuracy should be in percent, above 1 and up to 100, '
            f'such as 93.4, but got {accuracy}.'
        )
    if is_teacher(args.model):
        raise ValueError(
            f'--model {args.model}: the accuracy of a teacher cannot be told '
            'from its agreement with itself. Name a student, or leave it out.'
        )
    _check_out(args.out)
    run = Run(args.source, args.config)
    _check_bank(run)
    teachers = run.cfg.model.get('teachers')
    check_teachers(teachers)
    by = next(iter(teachers))  # as in the run
    preprocessor, (teacher, student) = run.networks(
        f'teachers.{by}', args.model
    )
    weights = Path(args.model)
    if args.model == 'student':
        weights = find_checkpoint(run.checkpoint)
    bank = _bank(run)  # all of which is read
    name = 'held_out' if len(bank.places(held_out=True)) else 'seen'
    images = bank_images(bank, name, args.images)
    networks = Networks(
        teacher,
        student,
        None,
        partial(normalize_images, preprocessor=preprocessor),
    )
    labels = bank_labels(bank, name, args.images)
    found = compare(networks, dict(student=student), images, labels)['student']
    if not math.isfinite(found['top1']):
        raise ValueError(
            f'--model {args.model} computes NaN or Inf on images of '
            f'{run.bank}: its training diverged. Take an earlier checkpoint.'
        )
    fit = FITS[name]
    share = found['recognised']
    confident = int(found['confident_images'])
    top1: Dict[str, Any] = dict(top1=None, low=None, high=None, confident=None)
    if share >= RECOGNISED and confident:
        estimated = estimate_accuracy(
            fit, found['confident'], accuracy, confident
        )
        top1 = {k: round(v, 1) for k, v in estimated._asdict().items()}
        top1['confident'] = round(found['confident'], 2)
    told = dict(
        estimated_by=_WRITTEN_BY,
        # Where a file is, is private.
        model=Path(args.model).name,
        weights=weights.name,
        teacher=by,
        teachers=[*teachers],
        images=len(images),
        are_held_out=name == 'held_out',
        agreement=round(found['top1'], 2),
        kl=round(found['kl'], 4),
        ece=round(found['ece'], 2),
        recognised=round(share, 1),
        confident_images=confident,
        teacher_accuracy=accuracy,
        of='real images' if accuracy else "the teacher's accuracy",
        **top1,
        interval=COVERAGE,
        mean_error=round(fit.mean_error, 1),
        worst_error=round(fit.worst_error, 1),
        fitted_on=dict(tasks=fit.tasks, students=fit.students),
    )
    if args.out:
        text = json.dumps(told, indent=2)
        write_file(args.out, f'{text}\n'.encode())
    print('\n'.join(_notes(told)))
    return told


def _check_out(out: Any) -> None:
    """Check that the file can be written, and is free or of this command."""
    if out is None:
        return
    path = Path(out)
    if path.suffix != '.json':
        raise ValueError(
            f'--out {out}: it becomes JSON, so give it the suffix .json.'
        )
    if path.exists() and not has_key(path, 'estimated_by'):
        raise ValueError(
            f'--out {out} is there, and was not written by this command: it '
            'would be overwritten. Choose another name.'
        )
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(
            f'--out {out}: {path.parent} is no folder that can be written to.'
        )


def _check_bank(run: Run) -> None:
    """Check that a run has a bank."""
    if not BankFolder.exists(run.bank):
        raise FileNotFoundError(
            f'There is no image bank in {run.bank}, by which the student '
            'could be compared with its teacher. Give the bank itself, with '
            '--config of its run.'
        )


def _bank(run: Run) -> ImageBank:
    """The bank of a run, with what it holds out."""
    held_out = BankFolder(run.bank).held_out
    bank = ImageBank(
        data_root=str(run.bank), held_out=held_out.share if held_out else 0
    )
    if not len(bank):
        raise FileNotFoundError(f'The image bank in {run.bank} is empty.')
    return bank


def _notes(told: Dict[str, Any]) -> List[str]:
    """What to tell who asked."""
    kind = 'held-out' if told['are_held_out'] else 'synthetic'
    of = ' %' if told['teacher_accuracy'] else " % of the teacher's"
    teacher = f'teacher "{told["teacher"]}"'
    if len(told['teachers']) > 1:
        teacher += f', the first of {", ".join(told["teachers"])},'
    lines = [
        f'The student of {told["weights"]} decides like its {teacher} on '
        f'{told["agreement"]:.1f} % of {told["images"]} {kind} images.',
    ]
    if not told['confident_images']:
        return [
            *lines,
            'WARNING: the teacher is sure of none of these images, so no '
            'accuracy is estimated.',
        ]
    if told['top1'] is None:
        return [
            *lines,
            f'WARNING: the teacher takes only {told["recognised"]:.1f} % of '
            'these images for the class of their label. They are none of its '
            'classes, so no accuracy is estimated: that was measured where '
            f'{RECOGNISED:.0f} % or more are.',
        ]
    lines += [
        f'On the {told["confident_images"]} of them that the teacher is sure '
        f'of, it does on {told["confident"]:.1f} %.',
        f'Estimated accuracy: {told["top1"]:.1f}{of}, '
        f'{told["low"]:.1f} to {told["high"]:.1f}.',
        error_of(FITS['held_out' if told['are_held_out'] else 'seen']),
    ]
    few = few_images(told['confident_images'])
    if few:
        lines.append(f'WARNING: {few}')
    if not told['are_held_out']:
        lines.append(
            'WARNING: no images of this bank are held out from training '
            '(train_dataloader.dataset.held_out), so the student was trained '
            'on those that it is measured by.'
        )
    if told['teacher_accuracy'] is None:
        lines.append(
            "Give the teacher's accuracy for a figure in points: "
            '--teacher-accuracy 93.4'
        )
    return lines


def main() -> None:
    """Run the command line."""
    speak_utf8()
    with concise_errors():
        check_alone('estimate')
        estimate(parse_args())

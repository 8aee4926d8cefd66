# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Estimate a student's accuracy without a label."""

import argparse
import json
import math
import os
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import numpy as np

from ..datasets import BankFolder, ImageBank
from ..engine.agreement_images import (
    bank_images,
    bank_labels,
    bank_places,
    compare,
    known_biases,
)
from ..export import find_checkpoint
from ..models.preprocessors import normalize_images
from ..models.synthesizers import Networks
from ..utils import check_integer, write_file
from ..utils.accuracy import COVERAGE, FITS
from ..utils.agreement import Agreement, about_agreement, estimate_of
from ..utils.alone import check_alone
from ..version import __version__
from .errors import concise_errors
from .parser import Parser
from .processes import speak_utf8
from .run_source import (
    Run,
    add_run_arguments,
    has_key,
    is_teacher,
    teachers_of,
)

_IMAGES = 2000
_WRITTEN_BY = f'csd_mmrazor {__version__}'


def parse_args() -> argparse.Namespace:
    parser = Parser(
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
    teachers = teachers_of(run)
    by = next(iter(teachers))  # as in the run
    preprocessor, (teacher, student) = run.networks(
        f'teachers.{by}', args.model
    )
    weights = Path(args.model)
    if args.model == 'student':
        weights = find_checkpoint(run.checkpoint)
    bank = _bank(run)  # all of which is read
    name = 'held_out' if len(bank.places(held_out=True)) else 'seen'
    real = _real(bank, bank_places(bank, name, args.images))
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
    quality = Agreement(
        found['top1'],
        found['recognised'],
        found.get('confident', math.nan),
        name,
        len(images),
        int(found['confident_images']),
        (*known_biases(run.cfg.model.get('architecture'), teacher),),
        found.get('chance'),
    )
    estimated = estimate_of(quality)
    told = dict(
        estimated_by=_WRITTEN_BY,
        # Where a file is, is private.
        model=Path(args.model).name,
        weights=weights.name,
        teacher=by,
        teachers=[*teachers],
        images=len(images),
        real_images=real,
        are_held_out=name == 'held_out',
        agreement=round(found['top1'], 2),
        kl=round(found['kl'], 4),
        ece=round(found['ece'], 2),
        recognised=round(found['recognised'], 1),
        confident_images=quality.sure,
        confident=round(quality.confident, 2) if quality.is_known else None,
        chance=None if quality.chance is None else round(quality.chance, 2),
        estimate=estimated and _rounded(estimated),
        teacher_accuracy=accuracy,
        accuracy=estimated
        and accuracy
        and _rounded(estimated.accuracy(accuracy)),
        interval=COVERAGE,
        mean_error=round(fit.mean_error, 1),
        worst_error=round(fit.worst_error, 1),
        fitted_on=dict(tasks=fit.tasks, students=fit.students),
    )
    if args.out:
        text = json.dumps(told, indent=2)
        write_file(args.out, f'{text}\n'.encode())
    print('\n'.join(_notes(told, quality)))
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


def _real(bank: ImageBank, places: np.ndarray) -> int:
    """How many of some images are pictures, not synthetic."""
    folder = bank.opened
    ends = np.cumsum([shard.count for shard in folder.shards])
    is_real = np.array([folder.is_real(shard) for shard in folder.shards])
    shards = np.searchsorted(ends, places, side='right')
    return int(is_real[shards].sum())


def _rounded(found: NamedTuple) -> Dict[str, float]:
    return {name: round(v, 1) for name, v in found._asdict().items()}


def _notes(told: Dict[str, Any], quality: Agreement) -> List[str]:
    """What to tell who asked."""
    teacher = f'"{told["teacher"]}"'
    if len(told['teachers']) > 1:
        teacher += f', the first of {", ".join(told["teachers"])}'
    real, accuracy = told['real_images'], told['teacher_accuracy']
    named = f'{real} of them real pictures' if real else ''
    facts, doubts = about_agreement(quality, named, accuracy)
    lines = [f'Student: {told["weights"]}. Teacher: {teacher}.', *facts]
    lines += [f'WARNING: {doubt}' for doubt in doubts]
    if told['estimate'] and accuracy is None:
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

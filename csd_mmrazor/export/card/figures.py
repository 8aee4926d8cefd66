# Copyright (c) csd_mmrazor developers. All rights reserved.
"""How good a network is, in a card: for programs, and in words."""

from typing import Any, Dict, List, Optional, Tuple

from ...datasets import BankFolder
from ...utils.accuracy import (
    FITS,
    RECOGNISED,
    AccuracyEstimate,
    doubts_about,
    error_of,
    estimate_accuracy,
)
from .images_used import share_of_real
from .layout import data_type, result_entry
from .quality import Agreement, MeasuredAccuracy, Quality

# Of what the sets of images in ``FITS`` are.
_SETS = dict(
    held_out='images that were held out from its training',
    seen='images that it was trained on',
)


def results_of(
    quality: Quality, bank: Optional[BankFolder] = None
) -> List[Dict[str, Any]]:
    if isinstance(quality, MeasuredAccuracy):
        data = dict(type=quality.data_type, name=quality.data_name)
        if quality.split:
            data.update(split=quality.split)
        return [result_entry(data, ('accuracy', 'top-1 (%)', quality.top1))]
    if isinstance(quality, Agreement):
        fit = FITS[quality.images]
        same = 'same class as its teacher (%)'
        metrics = [('agreement', same, quality.top1)]
        estimate = estimate_of(quality)
        if estimate is not None:
            metrics += [
                (
                    # No accuracy: neither measured, nor of all images.
                    'agreement_based_estimate',
                    "estimated top-1, % of the teacher's; off by "
                    f'{fit.mean_error:.1f} points on average',
                    estimate.percent_of_teacher,
                )
            ]
        real, count = (bank.real_images, len(bank)) if bank else (0, 0)
        name = _compared_with_teacher(quality, real > 0)
        if bank and real:
            name += f'; {share_of_real(bank)}'
        data = dict(type=data_type(real, count), name=name)
        return [result_entry(data, *metrics)]
    return []


def told_of(quality: Quality, bank: Optional[BankFolder] = None) -> str:
    """What is known of an accuracy, in words."""
    if isinstance(quality, MeasuredAccuracy):
        split = f', split {quality.split}' if quality.split else ''
        return (
            f'top-1 {quality.top1:.2f} % on the real images of '
            f'{quality.data_name}{split}.'
            + (
                ' The epoch was chosen on these same images, so this figure '
                'is optimistic.'
                if quality.chosen
                else ''
            )
        )
    if not isinstance(quality, Agreement):
        return 'not measured.'
    return f'not measured. {told_of_agreement(quality, bank)}'


def estimate_of(agreement: Agreement) -> Optional[AccuracyEstimate]:
    """What an agreement says of a student.

    Returns:
        AccuracyEstimate | None: None where the images are none of its
        classes, or the teacher is not known to be sure of any.
    """
    if not agreement.is_enough:
        return None
    return estimate_accuracy(
        FITS[agreement.images], agreement.confident, agreement.sure
    )


def told_of_agreement(
    quality: Agreement, bank: Optional[BankFolder] = None
) -> str:
    """What a student has in common with its teacher, in words."""
    real = share_of_real(bank) if bank and bank.real_images else ''
    facts, doubts = about_agreement(quality, real)
    return ' '.join([*facts, *doubts])


def about_agreement(
    quality: Agreement, real: str = '', teacher_top1: Optional[float] = None
) -> Tuple[List[str], List[str]]:
    """The same as sentences, for whoever says it.

    Args:
        quality (Agreement): Of the student.
        real (str): Which of the images are real. Defaults to '', none.
        teacher_top1 (float, optional): The teacher's accuracy, in %. Defaults
            to None, not known: the estimate is a share of it.

    Returns:
        tuple[list[str], list[str]]: What is known, and what weakens it.
    """
    same = (
        f'It gives the same class as its teacher on {quality.top1:.1f} % of '
        f'{quality.number or ""}'.rstrip()
        + f' {_compared_with_teacher(quality, bool(real))}'
        + (f' ({real})' if real else '')
    )
    if quality.recognised < RECOGNISED:
        return [f'{same}.'], [
            f'The teacher recognises only {quality.recognised:.1f} % of them '
            'as the class of their label. They are none of its classes, so no '
            f'accuracy is estimated: that was measured where '
            f'{RECOGNISED:.0f} % or more are.'
        ]
    estimate = estimate_of(quality)
    if estimate is None:
        return [f'{same}.'], [
            'The teacher is sure of none of them, so no accuracy is estimated.'
            if quality.sure == 0
            else 'How far it does on those that the teacher is sure of is not '
            'known, so no accuracy is estimated.'
        ]
    told = f'{estimate}'
    if teacher_top1 is not None:
        told = (
            f'{estimate.accuracy(teacher_top1)}, with a teacher of '
            f'{teacher_top1:g} %'
        )
    which = 'those' if quality.sure is None else f'the {quality.sure}'
    return [
        f'{same}, and on {quality.confident:.1f} % of {which} that the '
        'teacher is sure of.',
        f'Estimated accuracy: {told}.',
        error_of(FITS[quality.images]),
    ], doubts_about(quality.images, quality.sure, bool(real))


def _compared_with_teacher(quality: Agreement, has_real: bool) -> str:
    return f'{"" if has_real else "synthetic "}{_SETS[quality.images]}'

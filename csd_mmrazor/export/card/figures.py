# Copyright (c) csd_mmrazor developers. All rights reserved.
"""How good a network is, in a card: for programs, and in words."""

from typing import Any, Dict, List, Optional

from ...datasets import BankFolder
from ...utils.accuracy import (
    FITS,
    RECOGNISED,
    Accuracy,
    error_of,
    estimate_accuracy,
    few_images,
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
                    estimate.top1,
                )
            ]
        real, count = (bank.real_images, len(bank)) if bank else (0, 0)
        name = compared_with_teacher(quality, bank)
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


def estimate_of(agreement: Agreement) -> Optional[Accuracy]:
    """What an agreement says of a student, in % of the teacher's accuracy.

    Returns:
        Accuracy | None: None where the images are none of its classes, or the
        teacher is not known to be sure of any.
    """
    if not agreement.is_enough:
        return None
    return estimate_accuracy(
        FITS[agreement.images], agreement.confident, images=agreement.sure
    )


def told_of_agreement(
    quality: Agreement, bank: Optional[BankFolder] = None
) -> str:
    """What a student has in common with its teacher, in words."""
    text = (
        'It gives the same class as its teacher on '
        f'{quality.top1:.1f} % of {quality.number or ""}'.rstrip()
        + f' {compared_with_teacher(quality, bank)}'
    )
    if bank and bank.real_images:
        text += f' ({share_of_real(bank)})'
    estimate = estimate_of(quality)
    if estimate is None and quality.recognised >= RECOGNISED:
        return (
            f'{text}. How far it does on those that the teacher is sure of is '
            'not known, so nothing is estimated.'
        )
    if estimate is None:
        return (
            f'{text}. The teacher recognises only {quality.recognised:.1f} % '
            'of them as the class of their label, too few to estimate the '
            'accuracy.'
        )
    number = quality.sure
    more = (
        'The number of images is not known, so the interval does not include '
        'the error that a small number causes.'
        if number is None
        else few_images(number)
    )
    if bank and bank.real_images:
        more = (
            'This error was measured on synthetic images only, but some of '
            f'these are real. {more}'
        )
    error = error_of(FITS[quality.images])
    return (
        f'{text}, and on {quality.confident:.1f} % of those that the teacher '
        f'is sure of. An estimate from that: {estimate.top1:.1f} % of the '
        f"teacher's accuracy, interval {estimate.low:.1f} to "
        f'{estimate.high:.1f} %. {error} {more}'.rstrip()
    )


def compared_with_teacher(
    quality: Agreement, bank: Optional[BankFolder]
) -> str:
    kind = '' if bank and bank.real_images else 'synthetic '
    return f'{kind}{_SETS[quality.images]}'

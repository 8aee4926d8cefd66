# Copyright (c) csd_mmrazor developers. All rights reserved.
"""How good a network is, in a card: for programs, and in words."""

from typing import Any, Dict, List, Optional

from ...datasets import BankFolder
from ...utils.accuracy import FITS
from ...utils.agreement import (
    Agreement,
    compared_with_teacher,
    describe_agreement,
    estimate_of,
)
from .layout import data_type, result_entry
from .quality import MeasuredAccuracy, Quality


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
        name = compared_with_teacher(quality, real > 0)
        if bank and real:
            name += f'; {bank.share_of_real}'
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
    real = bank.share_of_real if bank else ''
    return f'not measured. {describe_agreement(quality, real)}'

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a student has in common with its teacher, and what follows from it."""

import math
from typing import Dict, List, NamedTuple, Optional, Tuple

from .accuracy import (
    APART,
    CHANCE,
    FEW,
    FITS,
    LEAST,
    RECOGNISED,
    AccuracyEstimate,
    doubts_about,
    error_of,
    estimate_accuracy,
)

# Of what the sets of images in ``FITS`` are.
_SETS = dict(
    held_out='images that were held out from its training',
    seen='images that it was trained on',
)
# What estimates are known to be biased by: docs/label_free.md.
BIASES = dict(
    student_pruned='The student has fewer channels than its class makes, as '
    'pruned ones have. Estimates of pruned students were too low.',
    teacher_without_bn='The teacher has no BN layers. Estimates with such a '
    'teacher, a ViT, were too high.',
)


class Agreement(NamedTuple):
    """What a network that was not validated has in common with its teacher."""

    top1: float  # images on which both decide alike, in percent
    # Images that the teacher takes for the class of their label, in percent.
    recognised: float
    # Of those that it is sure of, images on which both decide alike, likewise.
    confident: float
    images: str  # of the bank, a key of ``FITS``
    number: Optional[int] = None  # of images, if that is known
    sure: Optional[int] = None  # of those that the teacher is sure of
    biases: Tuple[str, ...] = ()  # keys of ``BIASES``
    # Of those that the teacher is sure of, images on which both would decide
    # alike by chance, in percent, if that is known.
    chance: Optional[float] = None

    @property
    def is_enough(self) -> bool:
        """Whether an accuracy can be estimated by it."""
        return (
            self.is_known
            and self.recognised >= RECOGNISED
            and not self.is_of_few
            and not self.is_by_chance
            and abs(self.confident - self.top1) <= APART
        )

    @property
    def is_of_few(self) -> bool:
        """Whether ``confident`` is known to be of too few images."""
        return self.sure is not None and self.sure < LEAST

    @property
    def is_by_chance(self) -> bool:
        """Whether whoever guesses is known to agree nearly as well."""
        return self.chance is not None and self.chance > CHANCE

    @property
    def is_known(self) -> bool:
        """Whether ``confident`` is of any image."""
        return 0 <= self.confident <= 100 and self.sure != 0


def agreement_at(
    scalars: Dict[str, Dict[int, float]], epoch: int, is_mean: bool
) -> Optional[Agreement]:
    """What a run logged of a student and its teacher.

    Args:
        scalars (dict[str, dict[int, float]]): By tag and epoch.
        epoch (int): Of the student.
        is_mean (bool): Whether it is the running mean.

    Returns:
        Agreement | None: By the first set of images that there is.
    """
    group = 'agreement_mean' if is_mean else 'agreement'
    for images in FITS:
        top1, recognised, confident, number, sure, chance = (
            scalars.get(tag, {}).get(epoch, math.nan)
            for tag in (
                f'{group}/{images}_top1',
                f'agreement/{images}_recognised',
                f'{group}/{images}_confident',
                f'agreement/{images}_images',
                f'{group}/{images}_confident_images',
                f'{group}/{images}_chance',
            )
        )
        if math.isfinite(top1) and math.isfinite(recognised):
            known = (
                int(each) if 0 <= each < math.inf else None
                for each in (number, sure)
            )
            biases = tuple(
                name
                for name in BIASES
                if scalars.get(f'agreement/{name}', {}).get(epoch)
            )
            return Agreement(
                *(top1, recognised, confident, images, *known),
                biases=biases,
                chance=chance if 0 <= chance <= 100 else None,
            )
    return None


def estimate_of(agreement: Agreement) -> Optional[AccuracyEstimate]:
    """What an agreement says of a student.

    Returns:
        AccuracyEstimate | None: None where the images are none of its
        classes, where the teacher is not known to be sure of any or is sure
        of fewer than ``LEAST``, where both would agree on most of these by
        chance, or where the agreement on them is far from that on all.
    """
    if not agreement.is_enough:
        return None
    return estimate_accuracy(
        FITS[agreement.images], agreement.confident, agreement.sure
    )


def describe_agreement(quality: Agreement, real: str = '') -> str:
    """What a student has in common with its teacher, in words.

    Args:
        quality (Agreement): Of the student.
        real (str): Which of the images are real. Defaults to '', none.
    """
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
        + f' {compared_with_teacher(quality, bool(real))}'
        + (f' ({real})' if real else '')
    )
    if quality.recognised < RECOGNISED:
        is_few = quality.number is not None and quality.number < FEW
        why = (
            f'{quality.number} are too few to judge by'
            if is_few
            else 'They are none of its classes'
        )
        return [f'{same}.'], [
            f'The teacher recognises only {quality.recognised:.1f} % of them '
            f'as the class of their label. {why}, so no accuracy is '
            f'estimated: estimates were tested where it recognises '
            f'{RECOGNISED:.0f} % or more.'
        ]
    if not quality.is_known:
        return [f'{same}.'], [
            'The teacher is sure of none of them, so no accuracy is estimated.'
            if quality.sure == 0
            else 'How far it does on those that the teacher is sure of is not '
            'known, so no accuracy is estimated.'
        ]
    which = 'those' if quality.sure is None else f'the {quality.sure}'
    same += (
        f', and on {quality.confident:.1f} % of {which} that the teacher is '
        'sure of.'
    )
    if quality.is_of_few:
        return [same], [
            f'Of fewer than {LEAST}, no accuracy is estimated: compare more. '
            'If the bank has no more, a larger budget makes more.'
        ]
    if quality.is_by_chance:
        return [same], [
            f'By chance alone, they would agree on {quality.chance:.1f} % of '
            'these, since both take nearly all for the same class. So no '
            'accuracy is estimated: compare images of all classes, about as '
            'many of each.'
        ]
    estimate = estimate_of(quality)
    if estimate is None:
        why = (
            'such estimates tend to be too high'
            if quality.confident > quality.top1
            else 'students agree more on those, as a rule'
        )
        return [same], [
            f'The two are more than {APART:.0f} points apart, so no accuracy '
            f'is estimated: {why}. This is common after short runs, and a '
            'larger budget helps.'
        ]
    told = f'{estimate}'
    if teacher_top1 is not None:
        told = (
            f'{estimate.accuracy(teacher_top1)}, with a teacher of '
            f'{teacher_top1:g} %'
        )
    return [
        same,
        f'Estimated accuracy: {told}.',
        error_of(FITS[quality.images]),
    ], [
        *doubts_about(
            quality.images, quality.sure, bool(real), quality.chance
        ),
        *(BIASES[name] for name in quality.biases),
    ]


def compared_with_teacher(quality: Agreement, has_real: bool) -> str:
    """The images that an agreement is of, in words."""
    return f'{"" if has_real else "synthetic "}{_SETS[quality.images]}'

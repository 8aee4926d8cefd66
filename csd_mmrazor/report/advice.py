# Copyright (c) csd_mmrazor developers. All rights reserved.
"""When a run does not do well, and what to try."""

from typing import Dict, Optional

Curve = Dict[int, float]

# In %, or points of it.
_FEW_RECOGNISED, _CLOSE_TO_TEACHER = 50.0, 1.0
# Validations without a better one: so many, or this share of the run.
_PATIENCE, _PATIENT_SHARE = 5, 0.25
# A fall to less than this share of the best counts as a collapse.
_COLLAPSE = 0.7
# Validations after which a student should be above chance.
_START = 3
# What may be wrong with a student at chance, by what is known of it.
_TO_CHECK = {
    'accuracy': 'Check mean and std, and that the classes of the validation '
    'images have the order of the teacher. Look at the '
    "teacher's own accuracy and at the images of the bank.",
    'agreement with the teacher': 'If the losses rose in the first epochs, '
    'the learning rate is too high for this student: lower '
    'optim_wrapper.architecture.optimizer.lr (lr in the schedule of '
    'distill()). Otherwise it had too few steps.',
}


def is_chance(top1: float, classes: int) -> bool:
    """Whether an accuracy in % is hardly more than guesses have."""
    return top1 < _above_chance(classes)


def _above_chance(classes: int) -> float:
    chance = 100 / classes
    # Of two classes, half as much again is a lot.
    return min(1.5 * chance, chance + 0.1 * (100 - chance))


def advise(
    top1: Curve,
    recognised: Curve,
    initial: Optional[float] = None,
    num_classes: Optional[int] = None,
    epochs: Optional[int] = None,
    teacher_top1: Optional[float] = None,
    agreement: Optional[Curve] = None,
    is_comparable: bool = True,
    whole: Optional[float] = None,
) -> Dict[str, str]:
    """What is wrong with the course of a run, and what to try.

    Args:
        top1 (dict[int, float]): The student's accuracy by epoch, in %.
        recognised (dict[int, float]): Share of the new images of an epoch
            that the teacher recognises, in %.
        initial (float, optional): The same of the initial images' last round.
            Defaults to None.
        num_classes (int, optional): Classes K. Defaults to None.
        epochs (int, optional): Of the whole run. Defaults to None.
        teacher_top1 (float, optional): The teacher's accuracy on the same
            images as the student's, in %. Defaults to None.
        agreement (dict[int, float], optional): Share of held-out synthetic
            images on which student and teacher decide alike, by epoch, in %:
            in place of the accuracy where that is unknown. Defaults to None.
        is_comparable (bool): Whether that is of the same images in each epoch.
            Where it is not, one epoch says nothing of another. Defaults to
            True.
        whole (float, optional): Share of all images of the bank that the
            teacher recognises, in %. Defaults to None, not known.

    Returns:
        dict[str, str]: Texts by what they are about: 'initial', 'recognised',
        'chance', 'collapse', 'stall'. Empty if all is well.
    """
    found = {}
    # A share of many classes may be small and yet far above chance, one of two
    # large and no more than that.
    few = _FEW_RECOGNISED
    if num_classes:
        few = max(min(few, 2000 / num_classes), _above_chance(num_classes))
    # Later images may make up for them.
    is_enough = whole is not None and not _below(whole, few)
    if initial is not None and _below(initial, few) and not is_enough:
        found['initial'] = _initial(initial, whole, teacher_top1)
    text = _recognition(_finite(recognised), few)
    if text:
        found['recognised'] = text
    what, where = 'accuracy', ''
    if not top1 and agreement:
        # Which the teacher has with itself on all images.
        top1, teacher_top1 = agreement, 100.0
        what = 'agreement with the teacher'
        where = ' on the held-out images from before training'
    else:
        is_comparable = True
    curve = _finite(top1)
    broken = sorted(set(top1) - set(curve))
    if broken:
        found['collapse'] = (
            f'The {what} of epoch {broken[-1]} is not a number. See the log '
            'of the run.'
        )
    if not curve:
        return found
    last, best = max(curve), max(curve, key=lambda e: (curve[e], -e))
    if (
        num_classes
        and is_chance(curve[best], num_classes)
        and len(curve) >= _START
    ):
        found['chance'] = (
            f'After {last} epochs the best {what} of the student is '
            f'{_percent(curve[best])}, close to chance '
            f'({_percent(100 / num_classes)}). '
        )
        knows = teacher_top1 and not is_chance(teacher_top1, num_classes)
        if what == 'accuracy' and knows:
            found['chance'] += (
                f'The teacher is at {_percent(teacher_top1)}. If it should '
                'be higher, check mean, std, channel order and the order of '
                'the classes; otherwise these are right. If the losses rose '
                'in the first epochs, the learning rate is too high for this '
                'student: lower optim_wrapper.architecture.optimizer.lr (lr '
                'in the schedule of distill()). Otherwise it had too few '
                'steps.'
            )
        else:
            found['chance'] += _TO_CHECK[what]
    elif is_comparable and curve[last] < _COLLAPSE * curve[best]:
        found['collapse'] = (
            f'The {what}{where} fell from {_percent(curve[best])} '
            f'(epoch {best}) to {_percent(curve[last])} (epoch {last}). '
            'One low value is common while the learning rate is high. If the '
            'next ones stay low, set optim_wrapper.architecture.clip_grad='
            'dict(max_norm=5) or lower optim_wrapper.architecture.optimizer.'
            'lr, and continue with --resume.'
        )
    elif is_comparable and _stalls(curve, best, epochs, teacher_top1):
        found['stall'] = (
            f'The {what}{where} has not risen above the '
            f'{_percent(curve[best])} of epoch {best}; epoch {last} has '
            f'{_percent(curve[last])}. With a falling learning rate, the '
            'last epochs often bring more: wait for them. If the rate is '
            'already low, more images can help (init_rounds, rounds of '
            'SynthesisHook), or more epochs. If the teacher recognises few of '
            'the new images, try more steps of synthesis (iters).'
        )
    return found


def _initial(
    initial: float, whole: Optional[float], teacher_top1: Optional[float]
) -> str:
    """What is wrong with the initial images."""
    share, which = initial, 'the last initial images'
    if whole is not None:
        share, which = whole, 'all images of the bank'
    text = (
        f'The teacher recognises {_percent(share)} of {which} as the class '
        'that they were made for. This is common in short runs. For a better '
        'student, give the run more time, or raise init_iters of '
        'SynthesisHook or the weight of loss_oh. '
    )
    if teacher_top1 is None:
        return text + (
            'If the run was long, check mean, std and channel order of the '
            'teacher.'
        )
    return text + (
        f'The teacher has {_percent(teacher_top1)} of the validation images '
        'right. If it should have more, check mean, std and channel order; '
        'otherwise these are right.'
    )


def _recognition(recognised: Curve, few: float) -> str:
    """What is wrong with the images of the epochs."""
    if not recognised:
        return ''
    epochs = sorted(recognised)
    best = max(epochs, key=lambda e: recognised[e])
    latest = [recognised[e] for e in epochs[-_START:]]
    advice = (
        'Raise the weight of loss_oh or lower that of loss_csd (in '
        'synthesizer.losses), if there is one, or give synthesis more steps '
        '(iters).'
    )
    if len(latest) < 2 or max(latest[-2:]) >= few:
        return ''
    if recognised[best] >= 2 * max(latest[-2:]):
        return (
            'The share of the new images that the teacher recognises fell '
            f'from {_percent(recognised[best])} (epoch {best + 1}) to '
            f'{_percent(latest[-1])} (epoch {epochs[-1] + 1}). If the '
            'generator is kept over all rounds, its state may be lost; a '
            f'bank to start from (init_bank) brings it along. {advice}'
        )
    if len(latest) == _START and max(latest) < few:
        return (
            f'In the last {_START} epochs, the teacher recognised less than '
            f'{_percent(few)} of the new images, now {_percent(latest[-1])}. '
            f'{advice}'
        )
    return ''


def _stalls(
    curve: Curve,
    best: int,
    epochs: Optional[int],
    teacher_top1: Optional[float],
) -> bool:
    """Whether accuracy has not risen for long, without being high."""
    if teacher_top1 and curve[best] > teacher_top1 - _CLOSE_TO_TEACHER:
        return False
    patience = max(_PATIENCE, _PATIENT_SHARE * (epochs or max(curve)))
    return sum(epoch > best for epoch in curve) >= patience


def _finite(curve: Curve) -> Curve:
    return {k: v for k, v in curve.items() if abs(v) < 1e9}


def _below(value: float, limit: float) -> bool:
    return not value >= limit  # NaN as well


def _percent(value: float) -> str:
    return f'{value:.1f} %'

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""How much a student is like its teacher, told without labels."""

from typing import Dict, Optional

import torch
from torch import Tensor

# Probability of its decision from which on a teacher is sure of it.
CONFIDENT = 0.9
# Of confidence, of the same width.
_BINS = 15


def agreement(
    logits_s: Tensor, logits_t: Tensor, labels: Optional[Tensor] = None
) -> Dict[str, float]:
    """Compare what student and teacher say of the same images.

    Args:
        logits_s (Tensor): The student's, (N, K).
        logits_t (Tensor): The teacher's, (N, K).
        labels (Tensor, optional): The classes that were asked for, (N, ).

    Returns:
        dict[str, float]: ``top1``, the share of images on which they decide
        alike, in %; ``kl``, the mean KL divergence of the student's
        probabilities from the teacher's, in nats; ``ece``, the
        :func:`calibration_error` of the student with the teacher's decisions
        for labels, in %. With labels, ``recognised``, the share of images that
        the teacher takes for the class of their label, in %;
        ``confident_images``, the number of those that it gives ``CONFIDENT``
        or more; and, if there are any, ``confident``, the share of these on
        which both decide alike, and ``chance``, their
        :func:`chance_agreement`, in %. NaN where logits of either are not
        finite.
    """
    log_s, log_t = (
        logits.double().log_softmax(1) for logits in (logits_s, logits_t)
    )
    if not (logits_s.isfinite().all() and logits_t.isfinite().all()):
        names = ['top1', 'kl', 'ece']
        more = ['recognised', 'confident', 'confident_images', 'chance']
        names += more if labels is not None else []
        return dict.fromkeys(names, float('nan'))
    confidence, decided = log_s.exp().max(1)
    decided_t = log_t.argmax(1)
    same = decided == decided_t
    kl = (log_t.exp() * (log_t - log_s)).sum(1).mean()
    found = dict(
        top1=100 * same.double().mean().item(),
        kl=max(kl.item(), 0.0),  # not below by rounding
        ece=100 * calibration_error(confidence, same),
    )
    if labels is not None:
        known = decided_t == labels.to(decided_t.device)
        sure = log_t.exp().amax(1) >= CONFIDENT
        found.update(
            recognised=100 * known.double().mean().item(),
            confident_images=sure.double().sum().item(),
        )
        if sure.any():
            found.update(
                confident=100 * same[sure].double().mean().item(),
                chance=100 * chance_agreement(decided[sure], decided_t[sure]),
            )
    return found


def chance_agreement(one: Tensor, other: Tensor) -> float:
    """On how many images two classifiers would decide alike by chance.

    Args:
        one (Tensor): Decisions of one, classes from 0, (N, ), N of 1 or more.
        other (Tensor): Those of the other, (N, ).

    Returns:
        float: The share, 0..1, if each decided as often for each class as it
        does, whatever it sees: 1 where both name one class only.
    """
    size = 1 + int(torch.cat([one, other]).max())
    shares = [
        torch.bincount(each, minlength=size).double() / len(each)
        for each in (one, other)
    ]
    return float((shares[0] * shares[1]).sum())


def calibration_error(confidence: Tensor, right: Tensor) -> float:
    """The expected calibration error (Guo et al., ICML 2017).

    Args:
        confidence (Tensor): In the decision on each image, 0..1, (N, ).
        right (Tensor): Whether it is right, (N, ), bool.

    Returns:
        float: By how much confidence and the share of right decisions differ,
        0..1, averaged over 15 bins of confidence by their images.
    """
    bins = (confidence * _BINS).ceil().long().clamp(1, _BINS) - 1
    gaps = confidence.new_zeros(_BINS).index_add_(
        0, bins, right.to(confidence.dtype) - confidence
    )
    return gaps.abs().sum().item() / len(confidence)

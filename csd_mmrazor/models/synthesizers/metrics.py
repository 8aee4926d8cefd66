# Copyright (c) csd_mmrazor developers. All rights reserved.
"""How hard synthetic images are, and for whom; how diverse they are.

A run logs them in each epoch (docs/results.md).
"""

import math
from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pretext_tasks import joint_labels
from ..utils import evaluating, logits_of
from .networks import Networks


def class_balance(labels: Tensor, num_classes: int) -> float:
    """How evenly classes occur: entropy over that of even classes.

    Args:
        labels (Tensor): Classes, (N, ).
        num_classes (int): Classes K there are, 2 or more.

    Returns:
        float: 1 if all are equally frequent, 0 if there is only one.
    """
    shares = torch.bincount(labels, minlength=num_classes).double()
    shares /= shares.sum()
    return torch.special.entr(shares).sum().item() / math.log(num_classes)


def diversity(vectors: Tensor, labels: Tensor) -> float:
    """How differently images of one class are seen.

    Args:
        vectors (Tensor): What a network makes of each image, (N, D).
        labels (Tensor): Their classes, (N, ).

    Returns:
        float: Mean cosine distance over all pairs of images of one class, 0
        (all alike) to 2; 0 where there is no such pair.
    """
    unit = F.normalize(vectors.double(), dim=1)
    classes, index, counts = labels.unique(
        return_inverse=True, return_counts=True
    )
    sums = unit.new_zeros(len(classes), unit.shape[1])
    sums.index_add_(0, index, unit)
    # |sum of unit vectors|^2 = n + sum of cosines of the n (n - 1) pairs.
    cosines = sums.square().sum() - len(labels)
    pairs = (counts * (counts - 1)).sum()
    return (1 - cosines / pairs).item() if pairs else 0.0


def aux_answers(
    networks: Networks, inputs: Tensor, labels: Tensor
) -> Tuple[Tensor, Tensor]:
    """What the auxiliary head says of images, and what is right.

    Args:
        networks (Networks): Student and auxiliary head.
        inputs (Tensor): (N, C, H, W), normalised.
        labels (Tensor): Classes, (N, ).

    Returns:
        tuple[Tensor, Tensor]: ``aux_logits``, (N * T, K * T), and joint
        labels, (N * T, ).
    """
    with evaluating(*networks.modules), torch.no_grad():
        aux_logits = networks.aux_logits(inputs)
    num_views = networks.aux_head.task.num_views
    return aux_logits, joint_labels(labels.to(inputs.device), num_views)


def recognition_metrics(
    networks: Networks, images: Tensor, labels: Tensor
) -> Dict[str, float]:
    """Who recognises a batch of images.

    Args:
        networks (Networks): Teachers, student and auxiliary head.
        images (Tensor): (N, C, H, W), uint8.
        labels (Tensor): The classes that were asked for, (N, ).

    Returns:
        dict[str, float]: ``teacher_top1`` (of the first teacher),
        ``student_top1``, and if there is a head ``aux_top1``, in %, and its
        cross entropy ``aux_loss``.
    """
    inputs = networks.normalize(images)
    models = dict(teacher=networks.each_teacher[0], student=networks.student)
    found = {}
    with evaluating(*models.values()), torch.no_grad():
        for role, model in models.items():
            logits = logits_of(model(inputs, mode='tensor'))
            found[f'{role}_top1'] = _top1(logits, labels)
    if networks.aux_head is not None:
        aux_logits, joint = aux_answers(networks, inputs, labels)
        found['aux_top1'] = _top1(aux_logits, joint)
        found['aux_loss'] = F.cross_entropy(aux_logits, joint).item()
    return found


def count_unrecognised(
    networks: Networks, images: Tensor, labels: Tensor
) -> int:
    """How many images the first teacher takes for another class.

    Args:
        networks (Networks): Of which the first teacher is asked.
        images (Tensor): (N, C, H, W), uint8.
        labels (Tensor): The classes that were asked for, (N, ).
    """
    decided = teacher_decisions(networks, images)
    return int((decided != labels.to(decided.device)).sum())


def diversity_metrics(
    networks: Networks, images: Tensor, labels: Tensor, num_classes: int
) -> Dict[str, float]:
    """How diverse a sample of the image bank is to the first teacher.

    Args:
        networks (Networks): Of which the first teacher is asked.
        images (Tensor): (N, C, H, W), uint8.
        labels (Tensor): Their classes, (N, ).
        num_classes (int): Classes K there are.

    Returns:
        dict[str, float]: ``bank_balance``, the :func:`class_balance` of the
        classes that the teacher sees, and ``bank_diversity``, the
        :func:`diversity` of its logits.
    """
    logits_t = teacher_logits(networks, images)
    return dict(
        bank_balance=class_balance(logits_t.argmax(1), num_classes),
        bank_diversity=diversity(logits_t, labels.to(logits_t.device)),
    )


def teacher_decisions(networks: Networks, images: Tensor) -> Tensor:
    """The classes that the first teacher sees in images.

    Args:
        networks (Networks): Of which the first teacher is asked.
        images (Tensor): (N, C, H, W), uint8.

    Returns:
        Tensor: (N, ).
    """
    return teacher_logits(networks, images).argmax(1)


def teacher_logits(networks: Networks, images: Tensor) -> Tensor:
    """Logits of the first teacher.

    Args:
        networks (Networks): Of which the first teacher is asked.
        images (Tensor): (N, C, H, W), uint8.

    Returns:
        Tensor: (N, K), on the teacher's device.
    """
    teacher = networks.each_teacher[0]
    device = next(teacher.parameters()).device
    with evaluating(teacher), torch.no_grad():
        return torch.cat(
            [
                logits_of(
                    teacher(networks.normalize(part.to(device)), mode='tensor')
                )
                for part in images.split(256)
            ]
        )


def _top1(logits: Tensor, labels: Tensor) -> float:
    """Share of right answers, in %."""
    return (logits.argmax(1) == labels).double().mean().item() * 100

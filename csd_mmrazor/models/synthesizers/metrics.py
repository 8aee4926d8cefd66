# Copyright (c) csd_mmrazor developers. All rights reserved.
"""How hard synthetic images are, and for whom; how diverse they are.

A run logs them in each epoch (docs/results.md).
"""

import math
from collections import defaultdict
from typing import Dict, Iterator, List, Tuple

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
) -> Iterator[Tuple[Tensor, Tensor]]:
    """What the auxiliary head says of images, and what is right.

    A pass takes no more views than there are images, if it can, so that it
    fits wherever a pass of the images does.

    Args:
        networks (Networks): Student and auxiliary head.
        inputs (Tensor): (N, C, H, W), normalised.
        labels (Tensor): Classes, (N, ).

    Yields:
        tuple[Tensor, Tensor]: Of the next M images: ``aux_logits``,
        (M * T, K * T), and joint labels, (M * T, ).
    """
    num_views = networks.aux_head.task.num_views
    size = max(len(inputs) // num_views, 1)
    labels = labels.to(inputs.device)
    for part, classes in zip(inputs.split(size), labels.split(size)):
        with evaluating(*networks.modules), torch.no_grad():
            aux_logits = networks.aux_logits(part)
        yield aux_logits, joint_labels(classes, num_views)


def recognition_metrics(
    networks: Networks, images: Tensor, labels: Tensor, at_once: int = 256
) -> Dict[str, float]:
    """Who recognises a batch of images.

    Args:
        networks (Networks): Teachers, student and auxiliary head.
        images (Tensor): (N, C, H, W), uint8.
        labels (Tensor): The classes that were asked for, (N, ).
        at_once (int): Images of one pass at most, 1 or more. Defaults to 256.

    Returns:
        dict[str, float]: ``teacher_top1`` (of the first teacher),
        ``student_top1``, and if there is a head ``aux_top1``, in %, and its
        cross entropy ``aux_loss``.
    """
    models = dict(teacher=networks.each_teacher[0], student=networks.student)
    right: Dict[str, List[Tensor]] = defaultdict(list)
    losses = []
    for part, classes in zip(images.split(at_once), labels.split(at_once)):
        inputs = networks.normalize(part)
        with evaluating(*models.values()), torch.no_grad():
            for role, model in models.items():
                logits = logits_of(model(inputs, mode='tensor'))
                right[role].append(logits.argmax(1) == classes)
        if networks.aux_head is None:
            continue
        for logits, joint in aux_answers(networks, inputs, classes):
            right['aux'].append(logits.argmax(1) == joint)
            losses.append(F.cross_entropy(logits, joint, reduction='none'))
    found = {
        f'{role}_top1': torch.cat(each).double().mean().item() * 100
        for role, each in right.items()
    }
    if losses:
        found['aux_loss'] = torch.cat(losses).mean().item()
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

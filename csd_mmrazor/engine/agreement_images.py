# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Images that tell students apart without a label, and what they tell."""

from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from ..datasets import ImageBank
from ..datasets.bank_folder import INITIAL
from ..models.augments import RandomCropFlip
from ..models.classifiers import is_pruned
from ..models.synthesizers import (
    Networks,
    agreement,
    teacher_logits,
)
from ..models.utils import bn_layers, logits_of
from ..utils import derive_seed, seeded
from ..utils.agreement import BIASES
from .measure import unnoticed
from .synthesis.round_runner import FRESH, RoundRunner

# Seeds views and pairs, which are the same in each epoch.
_SEED = 0
_BATCH = 256


def spread(places: np.ndarray, number: int) -> np.ndarray:
    """So many places at most, from all over."""
    if len(places) <= number:
        return places
    chosen = np.linspace(0, len(places) - 1, number).round().astype(int)
    return places[chosen]


def bank_places(bank: ImageBank, name: str, number: int) -> np.ndarray:
    """Where the images of a set are in a bank, see :func:`bank_images`."""
    places = bank.places(held_out=name != 'seen')
    if name == 'initial':
        # What a capacity leaves of them are others from epoch to epoch.
        folder = bank.opened
        shards = [] if folder.has_dropped else folder.shards
        places = places[
            places < sum(s.count for s in shards if s.epoch <= INITIAL)
        ]
    return spread(places, number)


def bank_labels(bank: ImageBank, name: str, number: int) -> Tensor:
    """The classes that images of a bank are to be of.

    Args:
        bank (ImageBank): Open.
        name (str): A set of images, as of :func:`bank_images`.
        number (int): How many at most.

    Returns:
        Tensor: (N, ).
    """
    return torch.from_numpy(bank.labels()[bank_places(bank, name, number)])


def bank_images(
    bank: ImageBank, name: str, number: int, augment: Any = None
) -> Tensor:
    """Images of a bank.

    Args:
        bank (ImageBank): Open.
        name (str): A set of ``SETS``, but 'fresh'.
        number (int): How many at most.
        augment (nn.Module, optional): What 'views' are made by. Defaults to
            None, crops that are moved by up to an eighth of the image.

    Returns:
        Tensor: (N, C, H, W), uint8; N may be 0.
    """
    places = bank_places(bank, name, number)
    if not len(places):
        return torch.from_numpy(bank.columns(0)['inputs'])
    images = bank.__getitems__(places.tolist())['inputs']
    if name == 'views':
        side = min(images.shape[2:])
        augment = augment or RandomCropFlip(max(side // 8, 1), 0)
        with seeded(_SEED, images.device):
            images = augment(images)
    elif name == 'mixed':
        generator = torch.Generator().manual_seed(_SEED)
        order = torch.randperm(len(images), generator=generator)
        others = images[order.to(images.device)]
        images = ((images.int() + others.int() + 1) // 2).byte()
    return images


def compare(
    networks: Networks,
    students: Dict[str, nn.Module],
    images: Tensor,
    labels: Optional[Tensor] = None,
) -> Dict[str, Dict[str, float]]:
    """Compare students with the first teacher.

    Args:
        networks (Networks): With the teacher; stay as they are.
        students (dict[str, nn.Module]): By name.
        images (Tensor): (N, C, H, W), uint8, N of 1 or more.
        labels (Tensor, optional): The classes that they are to be of, (N, ).

    Returns:
        dict[str, dict[str, float]]: What :func:`agreement` says, by name.
    """
    device = next(networks.teachers.parameters()).device
    models = [networks.each_teacher[0], *students.values()]
    with unnoticed(*models):
        logits_t = teacher_logits(networks, images)
        return {
            name: agreement(
                torch.cat(
                    [
                        logits_of(
                            student(
                                networks.normalize(part.to(device)),
                                mode='tensor',
                            )
                        )
                        for part in images.split(_BATCH)
                    ]
                ),
                logits_t,
                labels,
            )
            for name, student in students.items()
        }


def fresh_images(rounds: RoundRunner, number: int, epoch: int) -> Tensor:
    """Images of a round that leaves nothing behind.

    Args:
        rounds (RoundRunner): What makes rounds.
        number (int): How many images at most.
        epoch (int): Which seeds it.

    Returns:
        Tensor: (N, C, H, W), uint8.
    """
    synthesizer = rounds.synthesizer
    state = synthesizer.persistent_state()
    state = {name: value.clone() for name, value in state.items()}
    try:
        batch = synthesizer.synthesize(
            rounds.networks,
            rounds.num_classes,
            seed=derive_seed(rounds.seed, FRESH, epoch),
        )
    finally:  # also of one that diverges
        if state:
            synthesizer.load_persistent_state(state)
    images: Tensor = batch.images
    chosen: Sequence[int] = spread(np.arange(len(images)), number).tolist()
    return images[chosen]


def known_biases(student: Any, teacher: nn.Module) -> List[str]:
    """What an estimate of a student is biased by, keys of ``BIASES``.

    Args:
        student (Any): Its config.
        teacher (nn.Module): The teacher.
    """
    is_known = dict(
        student_pruned=is_pruned(student),
        teacher_without_bn=not bn_layers(teacher),
    )
    return [name for name in BIASES if is_known[name]]

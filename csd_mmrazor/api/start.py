# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run starts from, by which another call in its work dir is told."""

import hashlib
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import torch.nn as nn

from ..datasets import BankFolder
from ..datasets.image_folder import digest_of_files, list_pictures
from ..models.utils import bn_layers
from ..utils.public import public_name
from .recipes import is_part

# What students start from that had no weights of their own.
BLOCKS, RANDOM = 'blocks of its teacher', 'random weights'


def digest_of_weights(network: nn.Module) -> str:
    """A checksum of all weights and buffers, as a run has them."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        value = value.detach().cpu().contiguous()
        value = value.float() if value.is_floating_point() else value
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()[:16]


def digest_of_layers(network: nn.Module) -> str:
    """A checksum of what layers say of themselves, such as a dropout."""
    text = re.sub('0x[0-9a-f]+', '', str(network))  # addresses
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def start_of(
    student: nn.Module, init_bank: Union[str, Path, None]
) -> Dict[str, Any]:
    """Checksums of what a run starts from.

    Args:
        student (nn.Module): Before the run.
        init_bank (str | Path, optional): The images to start with.

    Returns:
        dict[str, Any]: Plain data, for :func:`check_start`.
    """
    return dict(
        student=digest_of_weights(student),
        images=None if init_bank is None else _images_of(init_bank),
    )


def describe_weights(
    student: nn.Module,
    teacher: nn.Module,
    student_weights: Optional[str],
    is_trained: bool,
    blocks: bool,
) -> str:
    """What weights a student starts from, in words for its model card.

    Args:
        student (nn.Module): Before the run.
        teacher (nn.Module): With its weights.
        student_weights (str, optional): Where those of the student are from.
        is_trained (bool): Whether it decides much like the teacher.
        blocks (bool): Whether it is given blocks of the teacher.

    Returns:
        str: Empty where that is not known.
    """
    if blocks:
        return BLOCKS
    if student_weights is not None:
        return f'the weights in `{public_name(student_weights)}`'
    if is_part(student, teacher):
        return 'weights of its teacher, from which it was pruned'
    if is_trained or _is_trained(student):
        return 'weights that had been trained before'
    layers = [
        layer
        for layer in bn_layers(student)
        if layer.running_mean is not None and layer.running_var is not None
    ]
    is_new = layers and all(
        not layer.running_mean.any() and bool((layer.running_var == 1).all())
        for layer in layers
    )
    return RANDOM if is_new else ''


def check_start(
    record: Dict[str, Any],
    student: nn.Module,
    student_weights: Optional[str],
    init_bank: Union[str, Path, None],
    folder: Path,
) -> str:
    """Check that a call in a run's work dir gives what the run started from.

    Where nothing says that a student was trained, its weights are random
    ones, which each process draws anew.

    Args:
        record (dict): Of the run, with ``start`` and, if it has come to its
            end, ``trained``, the checksum of the weights that it gave.
        student (nn.Module): As the call gives it.
        student_weights (str, optional): Where its weights are from.
        init_bank (str | Path, optional): The images to start with.
        folder (Path): The work dir.

    Returns:
        str: What to add to the message that the run continues.

    Raises:
        ValueError: If the call gives something else; names the argument.
    """
    start = record.get('start')
    if not isinstance(start, dict):
        return ''  # of an earlier release
    images = start.get('images')
    if images and _images_of(init_bank or '', images[0]) != images:
        raise ValueError(
            f'init_bank={str(init_bank)!r} has other images than those that '
            f'the run in work_dir={folder} started with: they would not be '
            'used. Restore those, or choose another work_dir.'
        )
    known = start.get('student'), record.get('trained')
    if digest_of_weights(student) in known:
        return ''
    if student_weights is not None or _is_trained(student):
        argument = (
            'student'
            if student_weights is None
            else f'student_weights={str(student_weights)!r}'
        )
        raise ValueError(
            f'{argument} has other weights than those that the run in '
            f'work_dir={folder} started from: they would not be used. Choose '
            'another work_dir, or give the same weights to continue that run.'
        )
    return '; the weights of the student that was passed are not used'


def _images_of(
    init_bank: Union[str, Path], count: Optional[int] = None
) -> List[Any]:
    """How many shards or pictures there are, and a checksum of their list.

    Args:
        init_bank (str | Path): A bank or a folder of pictures.
        count (int, optional): Shards of a bank that are looked at, which may
            have grown since. Defaults to None, all.
    """
    if BankFolder.exists(init_bank):
        sums = [s.sha256 for s in BankFolder(init_bank).shards[:count]]
        joined = hashlib.sha256(''.join(sums).encode()).hexdigest()
        return [len(sums), joined]
    pictures = list_pictures(init_bank)
    samples = [(path, 0) for path in pictures]
    return [len(pictures), digest_of_files(init_bank, samples)]


def _is_trained(student: nn.Module) -> bool:
    """Whether its BN layers have seen something."""
    return any(
        bool(getattr(layer, 'num_batches_tracked', None))
        for layer in bn_layers(student)
    )

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether a teacher gets its images as in its training."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..datasets import LentImages
from ..models.utils import evaluating, logits_of
from ..report.advice import is_chance

# Images that each suspect is tried on, and by how much it has to be better.
_TRIED, _BETTER = 300, 10
# The same for teachers that are good as they are, where that is soon done: how
# many tries there are at most, in how many seconds if no budget says so, and
# how many standard deviations of chance a smaller gain has to be.
_MORE_TRIED, _BETTER_STILL = 1000, 3
_TRIES, _TRY_SECONDS, _SIGMA = 8, 30, 4
# Images of a class that tell of a small gain by another order.
_OF_A_CLASS = 20
# Accuracies in % below which suspects are tried whatever that takes, and below
# which it is told that none of them helped.
_LOW, _LITTLE = 75, 50
# Classes whose best order takes a second; time grows with their cube.
_ORDERED = 2000
# Letters of a list of classes that is told.
_NAMES = 400
# Of the training images of ImageNet, in 0..1.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Answers:
    """What a network says of images."""

    labels: Tensor  # of the images, (N,)
    said: Tensor  # the classes that it took them for, (N,)
    num_classes: int  # K

    @property
    def top1(self) -> float:
        """Accuracy in %."""
        right = int((self.labels == self.said).sum())
        return 100 * right / max(self.images, 1)

    @property
    def top1_of_one(self) -> float:
        """Accuracy in % of the best answer that is the same for all."""
        return 100 * int(self.of_classes.max()) / max(self.images, 1)

    @property
    def images(self) -> int:
        """How many there were."""
        return len(self.labels)

    @property
    def of_classes(self) -> Tensor:
        """How many there were of each class, (K,)."""
        return self.labels.bincount(minlength=self.num_classes)

    @property
    def confusion(self) -> Tensor:
        """Counts, (K, K): row is the label, column the answer.

        Those of ImageNet-21k have gigabytes.
        """
        pairs = self.labels * self.num_classes + self.said
        counts = pairs.bincount(minlength=self.num_classes**2)
        return counts.view(self.num_classes, self.num_classes)


def answers(
    network: torch.nn.Module,
    loader: Any,
    preprocess: Callable[..., Dict[str, Any]],
    num_classes: int,
    most: Optional[int] = None,
) -> Answers:
    """Show a network the images of a loader.

    Args:
        network (nn.Module): A classifier, on its device.
        loader (DataLoader): Of mmpretrain's kind.
        preprocess (Callable): What makes inputs of its batches.
        num_classes (int): Classes K.
        most (int, optional): Images after which to stop.

    Raises:
        ValueError: If a label is none of 0..K-1.
    """
    pairs: List[Tensor] = []
    seen = 0
    with evaluating(network), torch.no_grad():
        for batch in loader:
            data = preprocess(batch, False)
            labels = torch.cat([s.gt_label for s in data['data_samples']])
            labels = labels.cpu()
            wrong = labels[(labels < 0) | (labels >= num_classes)].tolist()
            if wrong:
                raise ValueError(
                    f'val has the label {wrong[0]}, but the networks tell '
                    f'{num_classes} classes, 0..{num_classes - 1}: '
                    + (
                        'labels count from 0.'
                        if wrong[0] == num_classes
                        else 'leave out images of others.'
                    )
                )
            found = logits_of(network(data['inputs'], mode='tensor'))
            pairs.append(torch.stack([labels, found.argmax(1).cpu()]))
            seen += len(labels)
            if most is not None and seen >= most:
                break
    return Answers(*torch.cat(pairs, 1), num_classes)


def suspects(
    teacher: torch.nn.Module,
    loader: Any,
    preprocessor: Any,
    found: Answers,
    most: int = _TRIED,
) -> List[str]:
    """What may be wrong where a teacher has a low accuracy.

    Changes that might help are tried on a part of the images.

    Args:
        teacher (nn.Module): The teacher.
        loader (DataLoader): The validation images.
        preprocessor (nn.Module): What normalises them.
        found (Answers): Of the teacher to all of them.
        most (int): Images of that part. Defaults to 300.

    Returns:
        list[str]: What helps, with the accuracy that it gives; the best first.
    """
    # Drawn at random: the first images of folders, or every tenth where ten
    # classes come in turn, would be of one class, which an input far off can
    # make the teacher's only answer.
    order = torch.randperm(
        len(loader.dataset), generator=torch.Generator().manual_seed(0)
    )
    part = DataLoader(
        Subset(loader.dataset, order[:most].sort()[0].tolist()),
        loader.batch_size,
        collate_fn=loader.collate_fn,
    )
    mean, std = preprocessor.mean, preprocessor.std

    def with_inputs(change: Callable[[Tensor], Tensor]) -> Tensor:
        def preprocess(batch: Any, training: bool) -> Dict[str, Any]:
            data = preprocessor(batch, training)
            images = data['inputs'] * std + mean
            return dict(data, inputs=change(images))

        return _hits(teacher, part, preprocess)

    tried: Dict[str, Callable[[Tensor], Tensor]] = {
        'mean and std (images in 0..1 fit better: leave both out)': (
            lambda images: images / 255
        ),
        'mean and std (images in 0..255 fit better: mean=0, std=1/255)': (
            lambda images: images
        ),
        'mean and std (images in -1..1 fit better: mean=0.5, std=0.5)': (
            lambda images: images / 127.5 - 1
        ),
        'light and dark (inverted images fit better)': (
            lambda images: (255 - images - mean) / std
        ),
    }
    # All images at a time may be gigabytes.
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in part:
        images = preprocessor(batch, False)['inputs'] * std + mean
        values = images.transpose(0, 1).flatten(1).cpu() / 255
        count += values.shape[1]
        total = total + values.sum(1, dtype=torch.double)
        squares = squares + values.square().sum(1, dtype=torch.double)
    average = total / count
    spread = (squares / count - average**2).clamp(min=0).sqrt()
    stats = [('of these images', average, spread)]
    channels = len(average)
    if channels == 3:
        stats.append(('of ImageNet', *map(torch.tensor, _IMAGENET)))
    for whose, *both in stats:
        one, other = ([round(float(v), 4) for v in each] for each in both)
        if min(other) > 0:
            name = (
                f'mean and std (those {whose} fit better: mean={one}, '
                f'std={other})'
            )
            tried[name] = partial(_normalised, mean=one, std=other)
    if channels == 3:
        tried['the channel order (BGR fits better)'] = lambda images: (
            (images.flip(1) - mean) / std
        )
    own_hits = _hits(teacher, part, preprocessor)
    better: List[Tuple[float, str]] = []
    for name, change in tried.items():
        try:
            hits = with_inputs(change)
        except Exception:  # networks may check the range of theirs
            continue
        if is_better(own_hits, hits, found.top1_of_one, found.top1 < _LOW):
            top1 = 100 * float(hits.float().mean())
            better.append((top1, f'{name}, {top1:.1f} %'))
    better += _in_own_size(teacher, part, preprocessor, found, own_hits)
    data = loader.dataset
    metainfo = getattr(data, 'metainfo', None)
    order = doubt_of_order(found, metainfo, isinstance(data, LentImages))
    if order:
        better.append((_best_order(found)[0], order))
    return [text for _, text in sorted(better, reverse=True)]


def _in_own_size(
    teacher: torch.nn.Module,
    part: Any,
    preprocessor: Any,
    found: Answers,
    own_hits: Tensor,
) -> List[Tuple[float, str]]:
    """The same as of :func:`suspects`, of pictures that were scaled."""
    data, order = part.dataset.dataset, part.dataset.indices
    unscaled = data.unscaled() if hasattr(data, 'unscaled') else None
    if unscaled is None:
        return []
    shape = unscaled.image_shape
    # Larger ones take longer, and more memory.
    times = max(math.prod(shape) / math.prod(data.image_shape), 1)
    count = min(len(order), math.ceil(_TRIES * len(order) / times))
    if count <= _SIGMA**2 and count < len(order):
        return []  # too few to tell
    step = -(-len(order) // count)
    others = DataLoader(
        Subset(unscaled, order[::step]),
        max(int(part.batch_size / times), 1),
        collate_fn=part.collate_fn,
    )
    try:
        hits = _hits(teacher, others, preprocessor)
    except Exception:  # networks may take one size alone
        return []
    is_low = found.top1 < _LOW and len(hits) >= min(_TRIED, len(own_hits))
    if not is_better(own_hits[::step], hits, found.top1_of_one, is_low):
        return []
    top1 = 100 * float(hits.float().mean())
    name = f'image_shape (images fit better as they are: image_shape={shape})'
    return [(top1, f'{name}, {top1:.1f} %')]


def how_many(found: Answers, image_seconds: float, seconds: float) -> int:
    """How many images suspects are tried on.

    Args:
        found (Answers): Of the teacher to the validation images.
        image_seconds (float): That it takes for one.
        seconds (float): That may be spent, if it is good as it is; 0 for a
            default.

    Returns:
        int: 0 if there is no time for enough of them.
    """
    limit = (seconds or _TRY_SECONDS) / max(image_seconds, 1e-9)
    most = min(int(limit / _TRIES), _MORE_TRIED)
    if found.top1 < _LOW or is_chance(found.top1, found.num_classes):
        return max(most, _TRIED)
    return most if most >= min(_TRIED, found.images) else 0


def is_better(own: Tensor, other: Tensor, least: float, is_low: bool) -> bool:
    """Whether a teacher is right for more images after a change.

    Args:
        own (Tensor): (N,), bool, of which it is right before.
        other (Tensor): (N,), bool, of the same images after the change.
        least (float): Accuracy in % that one answer to all images has.
        is_low (bool): Whether its accuracy calls for an explanation.
    """
    one, two = (100 * float(hits.float().mean()) for hits in (own, other))
    # Clearly above that, and above what there is.
    if two <= least + 0.15 * (100 - least):
        return False
    if is_low and two > one + _BETTER:
        return True
    # By chance, either answer to an image that only one is right for is as
    # likely.
    differ = int((own != other).sum())
    gained = int(other.sum()) - int(own.sum())
    return two > one + _BETTER_STILL and gained > _SIGMA * differ**0.5


def _hits(
    network: torch.nn.Module,
    loader: Any,
    preprocess: Callable[..., Dict[str, Any]],
) -> Tensor:
    """Which images of a loader a network is right for, (N,), bool."""
    found = []
    with evaluating(network), torch.no_grad():
        for batch in loader:
            data = preprocess(batch, False)
            labels = torch.cat([s.gt_label for s in data['data_samples']])
            logits = logits_of(network(data['inputs'], mode='tensor'))
            found.append(logits.argmax(1).cpu() == labels.cpu())
    return torch.cat(found)


def doubt_of_order(
    found: Answers,
    metainfo: Optional[Dict[str, Any]] = None,
    has_labels: bool = False,
) -> str:
    """What there is to say of the order of the classes.

    Args:
        found (Answers): Of the teacher to the validation images.
        metainfo (dict, optional): Of these, with the names of the classes.
        has_labels (bool): Whether they come with labels, and not in folders,
            which the names of the classes put in order. Defaults to False.

    Returns:
        str: A suspect if most answers would be right in another order, in
        which each class has an answer of its own; else empty.
    """
    classes = found.num_classes
    best, places = _best_order(found)
    is_sure = found.top1 >= _LOW and found.images >= _OF_A_CLASS * classes
    least = _BETTER_STILL if is_sure else _BETTER
    if best <= max(50, found.top1 + least):
        return ''
    said = f'the class order (with another one, {best:.0f} % would be right): '
    if has_labels:
        mapping = str(places.tolist())
        mapping = mapping if len(mapping) <= _NAMES else '[...]'
        return (
            f'{said}let the label of each image of val be the place of its '
            "class in the teacher's outputs, which fits as "
            f'mapping[label] with mapping={mapping}'
        )
    names, order = (metainfo or {}).get('classes', ()), '[...]'
    if len(names) == classes:
        # What the images that get an answer are called.
        listed = [str(names[label]) for label in places.argsort()]
        order = str(listed) if len(str(listed)) <= _NAMES else order
    return (
        f'{said}list the names of the folders, one per class, in the order of '
        f"the teacher's outputs, classes={order}"
    )


def _best_order(found: Answers) -> Tuple[float, Any]:
    """Accuracy in % with the best order of answers, and that, (K,).

    Of more classes than a moment allows, it is the order they have.
    """
    classes = found.num_classes
    if classes > _ORDERED:
        return found.top1, np.arange(classes)
    # Few need it, and its import takes long.
    from scipy.optimize import linear_sum_assignment

    confusion = found.confusion.numpy()
    places = linear_sum_assignment(confusion, maximize=True)
    right = int(confusion[places].sum())
    return 100 * right / max(found.images, 1), places[1]


def _normalised(
    images: Tensor, mean: Sequence[float], std: Sequence[float]
) -> Tensor:
    shape = len(mean), 1, 1
    return (images / 255 - images.new_tensor(mean).view(shape)) / (
        images.new_tensor(std).view(shape)
    )


def doubts_of(found: Answers, new: str, helpful: Sequence[str]) -> str:
    """What there is to say of a teacher's accuracy.

    Args:
        found (Answers): Of the teacher to the validation images.
        new (str): Of :func:`signs_of_random_weights`.
        helpful (sequence[str]): Of :func:`suspects`.

    Returns:
        str: A line, a warning unless all may be right; empty for nothing.

    Raises:
        ValueError: If the teacher is at chance, and was never trained or is
            so for a cause that was found.
    """
    classes = found.num_classes
    listed = '; '.join(helpful)
    if is_chance(found.top1, classes):
        chance = 100 / classes
        if new:
            raise ValueError(
                f'teacher was never trained: {new}, and it is right for '
                f'{found.top1:.1f} % of val, as guesses are '
                f'({chance:.1f} %). Give its weights by teacher_weights=FILE, '
                'or load them before the call.'
            )
        if helpful:
            raise ValueError(
                f'teacher is at chance ({found.top1:.1f} % of val, chance is '
                f'{chance:.1f} %), and better after a change. Suspects: '
                f'{listed}. Change that; if nothing is wrong with it, call '
                'without val.'
            )
        return (
            f'WARNING: the teacher is at chance ({found.top1:.1f} % of val, '
            f'chance is {chance:.1f} %). '
            'Suspects: mean and std; the order of channels or light and dark; '
            'the class order; the size of images; the weights.'
        )
    if listed:
        return (
            f'WARNING: the teacher is right for {found.top1:.1f} % of val, '
            f'and would be for more after a change. Suspects: {listed}. If it '
            'was trained with images as they are, change nothing.'
        )
    if found.top1 < _LITTLE:
        return (
            '  if it had more in training, check mean, std, the order of '
            'channels and classes, and its weights; the usual mistakes were '
            'tried, and none of them explains it'
        )
    return ''

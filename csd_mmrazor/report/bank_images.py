# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which images of a bank are shown, and how they get into a page."""

import base64
import io
import math
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import Image

from ..datasets.bank_folder import BankError, BankFolder, Shard

# Rounds and images that are shown, and what images are cut down to.
_MOST_ROUNDS, _MOST_IMAGES = 24, 960
_MOST_PIXELS = 64
# Bytes of all images together, before PNG.
_MOST_BYTES = 3_000_000
_COLUMNS = 16


class ShownRound(NamedTuple):
    """What is shown of a round."""

    shard: Shard
    # Places in the shard, sorted by class, (N, ).
    places: np.ndarray
    # (N, C, H, W), uint8, and (N, ).
    images: np.ndarray
    labels: np.ndarray


def chosen_images(
    bank: BankFolder, most_images: int = _MOST_IMAGES
) -> Tuple[List[ShownRound], List[str]]:
    """Images from all over a bank: of rounds from first to last, by class.

    Args:
        bank (BankFolder): The bank.
        most_images (int): How many at most. Defaults to 960.

    Returns:
        tuple[list[ShownRound], list[str]]: The same of the same bank; and
        what is wrong with the shards that could not be read.
    """
    size = math.prod(_reduced(bank.image_shape))
    most_images = max(1, min(most_images, _MOST_BYTES // size))
    shards = _spread_rounds(bank.shards)
    shown, wrong = [], []
    for shard in shards:
        try:
            images, labels = bank.read(shard)
        except (BankError, OSError) as error:
            wrong.append(str(error))
            continue
        number = min(len(labels), max(1, most_images // len(shards)))
        order = np.argsort(labels, kind='stable')
        spread = np.linspace(0, len(order) - 1, number).round()
        places = order[spread.astype(int)]
        shown.append(ShownRound(shard, places, images[places], labels[places]))
    return shown, wrong


def _spread_rounds(shards: Sequence[Shard]) -> List[Shard]:
    """Some rounds from first to last; a third from before the training."""
    before = [s for s in shards if s.epoch < 0]
    during = [s for s in shards if s.epoch >= 0]
    number = max(_MOST_ROUNDS // 3, _MOST_ROUNDS - len(during))
    before = _spread(before, number)
    return before + _spread(during, _MOST_ROUNDS - len(before))


def _spread(items: List, number: int) -> List:
    places = np.linspace(0, len(items) - 1, min(number, len(items)))
    return [items[int(place)] for place in places.round()]


def _reduced(shape: Sequence[int]) -> Tuple[int, int, int]:
    """(C, H, W) of an image as it is shown."""
    channels, height, width = shape
    factor = min(1.0, _MOST_PIXELS / max(height, width))
    return (
        3 if channels >= 3 else 1,
        max(1, round(height * factor)),
        max(1, round(width * factor)),
    )


def sprite(images: np.ndarray) -> Dict[str, Any]:
    """Many images in one PNG file.

    Args:
        images (ndarray): (N, C, H, W), uint8, N >= 1. The first three
            channels are shown, or the first of one or two.

    Returns:
        dict: ``png``, base64; ``columns`` and ``rows``, the grid; ``width``
        and ``height`` of an image.
    """
    channels, height, width = _reduced(images.shape[1:])
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    grid = np.zeros((rows * height, columns * width, channels), np.uint8)
    for number, image in enumerate(images[:, :channels]):
        pixels = image.transpose(1, 2, 0)
        if pixels.shape[:2] != (height, width):
            picture = Image.fromarray(
                pixels.squeeze(2) if channels == 1 else pixels
            )
            picture = picture.resize((width, height), Image.Resampling.BOX)
            pixels = np.asarray(picture).reshape(height, width, channels)
        top, left = number // columns * height, number % columns * width
        grid[top : top + height, left : left + width] = pixels
    buffer = io.BytesIO()
    picture = Image.fromarray(grid.squeeze(2) if channels == 1 else grid)
    picture.save(buffer, 'PNG', optimize=True)
    return dict(
        png=base64.b64encode(buffer.getvalue()).decode(),
        columns=columns,
        rows=rows,
        width=width,
        height=height,
    )


def gallery(
    bank: BankFolder,
    scores: Dict[Tuple[str, int], Tuple],
    most_images: Optional[int] = None,
) -> Tuple[Dict[str, Any], List[str]]:
    """The part of a bank that a page shows.

    Args:
        bank (BankFolder): The bank.
        scores (dict): Of :func:`read_measurements`.
        most_images (int, optional): How many at most. Defaults to None,
            which is that of :func:`chosen_images`.

    Returns:
        tuple[dict, list[str]]: ``rounds`` with names and sprites, and
        ``images`` as [round, place in its sprite, label, scores or None];
        and what is wrong with shards.
    """
    shown, wrong = chosen_images(bank, most_images or _MOST_IMAGES)
    rounds: List[Dict[str, Any]] = []
    images: List[List[Any]] = []
    for number, each in enumerate(shown):
        rounds.append(dict(name=_name(each.shard), sprite=sprite(each.images)))
        for place, (where, label) in enumerate(
            zip(each.places.tolist(), each.labels.tolist())
        ):
            score = scores.get((each.shard.name, where))
            images.append([number, place, label, score and list(score)])
    return dict(rounds=rounds, images=images), wrong


def _name(shard: Shard) -> str:
    kind = {-2: 'imported', -1: 'initial'}.get(shard.epoch)
    if kind:
        return f'{kind}, round {shard.index + 1}'
    more = f', round {shard.index + 1}' if shard.index else ''
    return f'epoch {shard.epoch + 1}{more}'

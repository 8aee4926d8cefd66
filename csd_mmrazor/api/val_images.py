# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What tells the validation images of one call from those of another."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any, List, Optional, Sequence

import numpy as np

from ..datasets.image_folder import digest_of_files, list_image_folder

# Items that are looked at, from all over a data set.
_LOOKED_AT = 16


def digest_of_val(
    val: Any, num_classes: int, classes: Optional[Sequence[str]] = None
) -> List[Any]:
    """The number of images, and a checksum of some of them.

    Args:
        val (str | Path | Dataset | DataLoader | None): As of ``distill()``.
        num_classes (int): Classes K.
        classes (sequence[str], optional): Names of the folders.

    Returns:
        list: Plain data. Images that differ from one reading to the next, as
        those of random transforms do, are left out; the checksum is None
        where nothing can be read.
    """
    if val is None:
        return []
    if isinstance(val, (str, Path)):
        files = list_image_folder(val, num_classes, classes)
        return [len(files), digest_of_files(val, files)]
    # A loader may shuffle.
    items = val
    if hasattr(val, 'dataset') and hasattr(val, 'batch_size'):
        items = val.dataset
    count, digest = None, None
    # What is wrong with them is told by what uses them.
    with suppress(Exception):
        count = len(items)
        chosen = np.linspace(0, count - 1, min(count, _LOOKED_AT))
        found = hashlib.sha256()
        for index in chosen.round().astype(int).tolist():
            for one, other in zip(
                _values(items[index]), _values(items[index])
            ):
                found.update(one if one == other else b'')
        digest = found.hexdigest()
    return [count, digest]


def _values(item: Any) -> List[bytes]:
    """The image and the label of an item, or whatever else is in it."""
    parts = item.values() if isinstance(item, dict) else item
    return [
        f'{array.dtype}{array.shape}'.encode() + array.tobytes()
        for array in map(np.asarray, parts)
        if array.dtype != object
    ]

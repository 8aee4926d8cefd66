# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The validation images of a call, and what tells them from others."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np

from ..datasets import FolderImages
from ..datasets.image_folder import digest_of_files, list_image_folder
from ..datasets.shared_pictures import check_apart
from .inputs import Inputs

# Items that are looked at, from all over a data set.
_LOOKED_AT = 16


def val_cfg_of(
    val: Any,
    inputs: Inputs,
    num_classes: int,
    names: Optional[List[str]],
) -> Optional[Dict[str, Any]]:
    """The config of the validation images.

    Args:
        val (str | Path | Dataset | DataLoader | None): As of ``distill()``.
        inputs (Inputs): Their shape, mean and standard deviation.
        num_classes (int): Classes K.
        names (list[str], optional): Names of the folders.

    Raises:
        FileNotFoundError: If there is no such folder.
        TypeError: If ``val`` is nothing of these, or can be read only once.
        ValueError: If the folder does not fit.
    """
    shape = list(inputs.image_shape)
    if val is None:
        return None
    if isinstance(val, (str, Path)):
        if not str(val) or not Path(val).is_dir():
            raise FileNotFoundError(
                f'val={str(val)!r} is not a folder: give one with a folder of '
                'images for each class, a data set, or None.'
            )
        try:
            FolderImages(str(val), shape, num_classes, names)
        except (ValueError, FileNotFoundError) as error:
            raise type(error)(f'val={str(val)!r}: {error}') from error
        return dict(
            type='mmrazor.FolderImages',
            data_root=str(Path(val).resolve()),
            image_shape=shape,
            num_classes=num_classes,
            classes=names,
        )
    is_items = hasattr(val, '__getitem__') or hasattr(val, '__iter__')
    if not is_items or isinstance(val, (dict, set)):
        raise TypeError(
            'val should be a folder, a Dataset, a DataLoader or None, but got '
            f'a {type(val).__name__}.'
        )
    if hasattr(val, '__next__'):
        raise TypeError(
            f'val is a {type(val).__name__}, which has its images only once: '
            'give list(val), a data set or a DataLoader.'
        )
    return dict(
        type='mmrazor.LentImages',
        dataset='val',
        image_shape=shape,
        mean=list(inputs.mean),
        std=list(inputs.std),
        classes=names,
    )


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


def check_val_is_apart(val: Any, init_bank: Union[None, str, Path]) -> str:
    """Check that no student is judged by pictures that it is trained on.

    Args:
        val (str | Path | Dataset | DataLoader | None): As of ``distill()``.
        init_bank (str | Path, optional): Likewise.

    Returns:
        str: A warning of a few that are in both; empty if none were found.

    Raises:
        ValueError: If more than a tenth of one is in the other.
    """
    if val is None or init_bank is None:
        return ''
    named = f'={str(val)!r}' if isinstance(val, (str, Path)) else ''
    names = f'val{named}', f'init_bank={str(init_bank)!r}'
    told = check_apart(val, init_bank, names, 'leave val out')
    return f'WARNING: {told}' if told else ''


def _values(item: Any) -> List[bytes]:
    """The image and the label of an item, or whatever else is in it."""
    parts = item.values() if isinstance(item, dict) else item
    return [
        f'{array.dtype}{array.shape}'.encode() + array.tobytes()
        for array in map(np.asarray, parts)
        if array.dtype != object
    ]

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What an image bank starts with: another bank, or a folder of pictures."""

from pathlib import Path
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np

from .bank_folder import BankFolder
from .image_folder import list_image_folder, list_pictures, names_of_folders
from .pictures import read_picture
from .shard_files import BankError


def check_init_bank(
    root: Union[str, Path],
    image_shape: Sequence[int],
    num_classes: int,
    classes: Optional[Sequence[str]],
    init_labels: str,
) -> None:
    """Check at a glance that a bank can start with some images.

    Args:
        root (str | Path): The bank or the folder.
        image_shape (sequence[int]): (C, H, W) of the new bank.
        num_classes (int): Its classes.
        classes (sequence[str], optional): Their names. None if they are not
            known yet: then folders of classes are not looked at.
        init_labels (str): As of ``ImageBank``.

    Raises:
        BankError: If they are of another kind, or damaged.
        FileNotFoundError: If there are none.
        ValueError: If the labels of pictures are not known.
    """
    if BankFolder.exists(root):
        BankFolder(root, image_shape, num_classes, classes)
        return
    if classes is None and init_labels != 'teacher':
        check_no_work_dir(root)
        return
    found = init_pictures(root, num_classes, classes or [], init_labels)
    read_init_picture(found[0][0], image_shape)


def init_pictures(
    root: Union[str, Path],
    num_classes: int,
    classes: Sequence[str],
    init_labels: str,
) -> List[Tuple[Path, int]]:
    """The pictures of a folder, with their labels, if they have any.

    Args:
        root (str | Path): The folder.
        num_classes (int): Classes of the bank.
        classes (sequence[str]): Their names, if they are known.
        init_labels (str): As of ``ImageBank``.

    Raises:
        FileNotFoundError: If there is no picture.
        ValueError: If it is the folder of a run, or if their labels are not
            known; says what to do.
    """
    check_no_work_dir(root)
    if init_labels == 'teacher':
        return [(path, 0) for path in list_pictures(root, flat=True)]
    names = names_of_folders(root, classes)
    try:
        return list_image_folder(root, num_classes, names)
    except ValueError as error:
        try:
            list_pictures(root, flat=True)
        except (OSError, ValueError):
            raise error from None  # no labels mend that
        raise ValueError(
            f'{error} Or let the teacher say what the images are, '
            'whatever their folders are called: init_labels="teacher".'
        ) from error


def read_init_picture(path: Path, image_shape: Sequence[int]) -> np.ndarray:
    """Read a picture that is to be an image of a bank.

    Args:
        path (Path): The picture.
        image_shape (sequence[int]): (C, H, W) of the bank.

    Returns:
        ndarray: (H, W, C), uint8.

    Raises:
        BankError: If it has another size, or images of the bank are neither
            grey nor RGB.
    """
    channels, height, width = image_shape
    if channels not in (1, 3):
        raise BankError(
            f'{path} of init_bank, and any other picture, is read as grey or '
            f'RGB, but the bank holds images of {channels} channels: give '
            'init_bank the bank of another run, whose images may have any '
            'number.'
        )
    image = read_picture(path, grey=channels == 1)
    if image.shape[:2] != (height, width):
        raise BankError(
            f'{path} of init_bank has {image.shape[1]}x{image.shape[0]} '
            f'pixels, but the bank holds images of {width}x{height}: bring '
            'all pictures to that size first.'
        )
    return image.reshape(height, width, channels)


def check_no_work_dir(root: Union[str, Path]) -> None:
    """Tell the folder of a run from its bank.

    Args:
        root (str | Path): A folder that is to have pictures.

    Raises:
        ValueError: If there is a bank in it; names that.
    """
    inner = Path(root, 'bank')
    if BankFolder.exists(inner):
        raise ValueError(
            f'{root} is the work dir of a run, whose images are in its bank: '
            f'give {inner}.'
        )

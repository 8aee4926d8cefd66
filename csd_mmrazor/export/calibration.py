# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which images a network is calibrated by, and which it is compared by."""

from pathlib import Path
from typing import Callable, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from torch import Tensor

from ..datasets import (
    BankFolder,
    FolderImages,
    ImageBank,
    check_no_work_dir,
)
from ..datasets.image_folder import names_of_folders


def balanced_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order in which each class comes as often as any other.

    Args:
        labels (ndarray): (N, ), of the images.
        seed (int): Decides which images of a class come first.

    Returns:
        ndarray: Indices, (N, ): one image of each class, then a second one of
        each, and so on, while a class has any.
    """
    generator = np.random.default_rng(seed)
    turns = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        (places,) = np.nonzero(labels == label)
        turns[places] = generator.permutation(len(places))
    return np.lexsort((generator.permutation(len(labels)), turns))


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order that starts with a stratified sample, of whatever size.

    Args:
        labels (ndarray): (N, ), of the images.
        seed (int): Decides which images of a class come first.

    Returns:
        ndarray: Indices, (N, ): one image of each class that has two or more,
        then others, so that classes keep their shares.
    """
    generator = np.random.default_rng(seed)
    shares = np.empty(len(labels))
    for label in np.unique(labels):
        (places,) = np.nonzero(labels == label)
        number = len(places)
        parts = generator.permutation(number) / number
        shares[places] = parts if number > 1 else 1
    return np.lexsort((generator.permutation(len(labels)), shares))


class Pictures(NamedTuple):
    """Images that a network can be calibrated or compared by."""

    labels: np.ndarray  # of all, (N, )
    # Whether no network was trained on them, (N, ), bool.
    held_out: np.ndarray
    # Whether they are pictures, not synthetic or noise, (N, ), bool.
    real: np.ndarray
    # Takes indices and returns (M, C, H, W), uint8.
    take: Callable[[np.ndarray], Tensor]
    # How they get their size, empty if they have it.
    about: str = ''


def calibration_images(
    source: Union[str, Path],
    image_shape: Sequence[int],
    num_classes: Optional[int] = None,
    classes: Optional[Sequence[str]] = None,
) -> Pictures:
    """Images of a bank or of a folder.

    Args:
        source (str | Path): An image bank, or a folder of pictures in
            ImageFolder layout.
        image_shape (sequence[int]): (C, H, W) that the network takes.
        num_classes (int, optional): Of the network.
        classes (sequence[str], optional): Their names in order.

    Raises:
        BankError: If it is a bank that is damaged or of other images.
        FileNotFoundError: If there are no images.
        ValueError: If its folders are not the classes.
    """
    if BankFolder.exists(source):
        # Checks shape and classes, which a bank in use has already.
        BankFolder(source, image_shape, num_classes, classes)
        bank = ImageBank(data_root=str(source))
        if not len(bank):
            raise FileNotFoundError(f'The image bank in {source} is empty.')
        held_out = np.zeros(len(bank), bool)
        held_out[bank.places(held_out=True)] = True
        shards = bank.opened.shards
        real = [np.full(s.count, bank.opened.is_real(s)) for s in shards]
        return Pictures(
            bank.labels(),
            held_out,
            np.concatenate(real),
            lambda places: bank.__getitems__(places.tolist())['inputs'],
        )
    if not Path(source).is_dir():
        raise FileNotFoundError(
            f'{source} is neither an image bank (a folder with '
            f'{BankFolder.manifest_name}) nor a folder of images '
            '(<class>/*.png).'
        )
    check_no_work_dir(source)
    names = names_of_folders(source, classes) if classes else None
    folder = FolderImages(str(source), image_shape, num_classes, names)
    labels = np.array([label for _, label in folder.images])
    return Pictures(
        labels,
        np.zeros(len(labels), bool),
        np.ones(len(labels), bool),
        lambda places: torch.stack(
            [folder[index]['inputs'] for index in places.tolist()]
        ),
        folder.about,
    )

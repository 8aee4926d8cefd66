# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which images a network is calibrated by."""

from pathlib import Path
from typing import Callable, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ..datasets import BankFolder, FolderImages, ImageBank


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


def calibration_images(
    source: Union[str, Path],
    image_shape: Sequence[int],
    num_classes: Optional[int] = None,
    classes: Optional[Sequence[str]] = None,
    seed: int = 0,
) -> Tuple[int, Callable[[int, int], Tensor]]:
    """Images of a bank or of a folder, in :func:`balanced_order`.

    Args:
        source (str | Path): An image bank, or a folder of pictures in
            ImageFolder layout.
        image_shape (sequence[int]): (C, H, W) that the network takes.
        num_classes (int, optional): Of the network.
        classes (sequence[str], optional): Their names in order.
        seed (int): Of the order. Defaults to 0.

    Returns:
        tuple[int, callable]: How many there are, and what returns those from
        one number to before another, (N, C, H, W), uint8.

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
        order = balanced_order(bank.labels(), seed)

        def from_bank(start: int, end: int) -> Tensor:
            return bank.__getitems__(order[start:end].tolist())['inputs']

        return len(order), from_bank
    if not Path(source).is_dir():
        raise FileNotFoundError(
            f'{source} is neither an image bank (a folder with '
            f'{BankFolder.manifest_name}) nor a folder of images '
            '(<class>/*.png).'
        )
    folder = FolderImages(str(source), image_shape, num_classes, classes)
    labels = np.array([label for _, label in folder.images])
    order = balanced_order(labels, seed)

    def from_folder(start: int, end: int) -> Tensor:
        return torch.stack(
            [folder[index]['inputs'] for index in order[start:end].tolist()]
        )

    return len(order), from_folder

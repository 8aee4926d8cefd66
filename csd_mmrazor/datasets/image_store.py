# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor


class MemoryStore:
    """Images and labels in one tensor each, on the host or a device.

    Args:
        image_shape (sequence[int]): (C, H, W).
        device (str | torch.device): Where to keep them.
    """

    def __init__(
        self, image_shape: Sequence[int], device: Union[str, torch.device]
    ) -> None:
        self.length = 0
        self._images = torch.empty(
            (0, *image_shape), dtype=torch.uint8, device=device
        )
        self._labels = torch.empty(0, dtype=torch.int64, device=device)

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Add (N, C, H, W), uint8, with (N, ), int64."""
        end = self.length + len(images)
        if end > len(self._images):
            self.reserve(max(end, 2 * len(self._images)))
        for held, new in ((self._images, images), (self._labels, labels)):
            held[self.length : end] = torch.from_numpy(
                np.ascontiguousarray(new)
            )
        self.length = end

    def reserve(self, length: int) -> None:
        """Make room for that many images in all."""
        for name in ('_images', '_labels'):
            old = getattr(self, name)
            if length > len(old):
                new = old.new_empty((length, *old.shape[1:]))
                new[: self.length] = old[: self.length]
                setattr(self, name, new)

    def take(self, indices: List[int]) -> Dict[str, Tensor]:
        """The images and labels of a batch."""
        index = torch.as_tensor(indices, device=self._labels.device)
        return dict(
            inputs=self._images.index_select(0, index),
            labels=self._labels.index_select(0, index),
        )

    def labels(self) -> np.ndarray:
        """All labels, (length, )."""
        return self._labels[: self.length].cpu().numpy()


class MappedStore:
    """Images and labels in memory-mapped arrays.

    Args:
        image_shape (sequence[int]): (C, H, W).
    """

    def __init__(self, image_shape: Sequence[int]) -> None:
        self.length = 0
        self.image_shape = tuple(image_shape)
        self._maps: List[Tuple[np.ndarray, np.ndarray]] = []
        self._starts: np.ndarray = np.zeros(0, np.int64)

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Add mapped arrays, (N, C, H, W), uint8, with (N, ), int64."""
        self._maps.append((images, labels))
        self._starts = np.append(self._starts, self.length)
        self.length += len(images)

    def reserve(self, length: int) -> None:
        """Nothing to make room for."""

    def take(self, indices: List[int]) -> Dict[str, Tensor]:
        """The images and labels of a batch."""
        places = np.asarray(indices)
        images: np.ndarray = np.empty(
            (len(indices), *self.image_shape), np.uint8
        )
        labels: np.ndarray = np.empty(len(indices), np.int64)
        which = np.searchsorted(self._starts, places, 'right') - 1
        for number in np.unique(which):
            rows = np.flatnonzero(which == number)
            local = places[rows] - self._starts[number]
            images[rows] = self._maps[number][0][local]
            labels[rows] = self._maps[number][1][local]
        return dict(
            inputs=torch.from_numpy(images), labels=torch.from_numpy(labels)
        )

    def labels(self) -> np.ndarray:
        """All labels, (length, )."""
        return np.concatenate([labels for _, labels in self._maps])

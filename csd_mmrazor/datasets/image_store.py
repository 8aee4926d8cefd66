# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List, Union

import numpy as np
import torch
from torch import Tensor

from ..utils import to_device


class MemoryStore:
    """Images and what belongs to them, in one tensor each, on a device.

    Args:
        columns (dict[str, ndarray]): Arrays of length 0 that have the names,
            shapes and types of what is added.
        device (str | torch.device): Where to keep them.
    """

    def __init__(
        self, columns: Dict[str, np.ndarray], device: Union[str, torch.device]
    ) -> None:
        self.length = 0
        self._columns = {
            name: torch.from_numpy(value).to(device)
            for name, value in columns.items()
        }

    def add(self, columns: Dict[str, np.ndarray]) -> None:
        """Add N of each."""
        end = self.length + len(columns['inputs'])
        capacity = len(self._columns['inputs'])
        if end > capacity:
            self.reserve(max(end, 2 * capacity))
        for name, held in self._columns.items():
            held[self.length : end] = torch.from_numpy(
                np.ascontiguousarray(columns[name])
            )
        self.length = end

    def reserve(self, length: int) -> None:
        """Make room for that many images in all."""
        for name, old in self._columns.items():
            if length > len(old):
                new = old.new_empty((length, *old.shape[1:]))
                new[: self.length] = old[: self.length]
                self._columns[name] = new

    def take(self, indices: List[int]) -> Dict[str, Tensor]:
        """What belongs to the images of a batch, by name."""
        device = self._columns['inputs'].device
        index = to_device(torch.tensor(indices), device)
        return {
            name: held.index_select(0, index)
            for name, held in self._columns.items()
        }

    def labels(self) -> np.ndarray:
        """All labels, (length, )."""
        return self._columns['labels'][: self.length].cpu().numpy()


class MappedStore:
    """Images and what belongs to them in memory-mapped arrays.

    Args:
        columns (dict[str, ndarray]): As of :class:`MemoryStore`.
    """

    def __init__(self, columns: Dict[str, np.ndarray]) -> None:
        self.length = 0
        self._columns = columns
        self._maps: List[Dict[str, np.ndarray]] = []
        self._starts: np.ndarray = np.zeros(0, np.int64)

    def add(self, columns: Dict[str, np.ndarray]) -> None:
        """Add mapped arrays, N of each."""
        self._maps.append(columns)
        self._starts = np.append(self._starts, self.length)
        self.length += len(columns['inputs'])

    def reserve(self, length: int) -> None:
        """Nothing to make room for."""

    def take(self, indices: List[int]) -> Dict[str, Tensor]:
        """What belongs to the images of a batch, by name."""
        places = np.asarray(indices)
        batch: Dict[str, np.ndarray] = {
            name: np.empty((len(indices), *value.shape[1:]), value.dtype)
            for name, value in self._columns.items()
        }
        which = np.searchsorted(self._starts, places, 'right') - 1
        for number in np.unique(which):
            rows = np.flatnonzero(which == number)
            local = places[rows] - self._starts[number]
            for name, values in batch.items():
                values[rows] = self._maps[number][name][local]
        return {name: torch.from_numpy(v) for name, v in batch.items()}

    def labels(self) -> np.ndarray:
        """All labels, (length, )."""
        return np.concatenate([each['labels'] for each in self._maps])

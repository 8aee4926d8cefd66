# Copyright (c) csd_mmrazor developers. All rights reserved.
import math
import os
from collections import OrderedDict, deque
from concurrent.futures import Future
from threading import Lock
from typing import Any, Deque, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.device import get_device
from torch import Tensor

from ..utils import to_device
from ..utils.threads import pool
from .shard_files import ShardFile


def shards_held(whole_shards: int) -> int:
    """How many shards are in memory for an order of so many at a time.

    Those that are at their end stay while others come.
    """
    return whole_shards + whole_shards // 4 + 4


class MemoryStore:
    """Images and what belongs to them, in one tensor each, on a device.

    Args:
        columns (dict[str, ndarray]): Arrays of length 0 that have the names,
            shapes and types of what is added.
        device (str | torch.device): Where to keep them.
        most (float): Images for which room is made in advance, at most.
            Defaults to infinity.
    """

    def __init__(
        self,
        columns: Dict[str, np.ndarray],
        device: Union[str, torch.device],
        most: float = math.inf,
    ) -> None:
        self.length = 0
        self._most = most
        self._columns = {
            name: torch.from_numpy(value).to(device)
            for name, value in columns.items()
        }

    def add(self, columns: Dict[str, np.ndarray]) -> None:
        """Add N of each."""
        end = self.length + len(columns['inputs'])
        capacity = len(self._columns['inputs'])
        if end > capacity:
            self.reserve(int(max(end, min(2 * capacity, self._most))))
        for name, held in self._columns.items():
            values = columns[name]
            # One of a single record counts as contiguous, with its stride.
            values = values.copy() if len(values) == 1 else values
            held[self.length : end] = torch.from_numpy(
                np.ascontiguousarray(values)
            )
        self.length = end

    def drop(self, number: int) -> None:
        """Drop the oldest, or all if there are not so many."""
        left = max(self.length - number, 0)
        if left == self.length:
            return
        for held in self._columns.values():
            # In parts that do not overlap where they go to.
            for start in range(0, left, number):
                end = min(start + number, left)
                held[start:end] = held[start + number : end + number]
        self.length = left

    def reserve(self, length: int) -> None:
        """Make room for that many images in all."""
        for name, old in self._columns.items():
            if length > len(old):
                new = old.new_empty((length, *old.shape[1:]))
                new[: self.length] = old[: self.length]
                self._columns[name] = new

    def expect(self, order: Sequence[int], whole_shards: int) -> None:
        """Nothing to read ahead."""

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


class DiskStore:
    """Images and what belongs to them, read from disk batch by batch.

    Where :meth:`expect` told the order, the next batches are read in threads
    meanwhile, into pinned memory where there is a GPU.

    Args:
        columns (dict[str, ndarray]): As of :class:`MemoryStore`.
        read_ahead (int): Batches that are read ahead at most.
    """

    def __init__(
        self, columns: Dict[str, np.ndarray], read_ahead: int
    ) -> None:
        self.length = 0
        self._columns = columns
        self._read_ahead = read_ahead
        self._files: List[Sequence[ShardFile]] = []
        self._ends: List[int] = []
        self.expect([], 0)

    def __getstate__(self) -> Dict[str, Any]:
        """For workers that are spawned: threads are not theirs."""
        state = dict(self.__dict__, _ahead=deque(), _order=np.zeros(0, int))
        return dict(state, _whole=OrderedDict(), _lock=None)

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=Lock())

    def add(self, files: Sequence[ShardFile]) -> None:
        """Add a shard: its file, and the one with its targets."""
        for file in files:
            file.note_size()
        self._files.append(files)
        self.length += files[0].count
        self._ends.append(self.length)

    def reserve(self, length: int) -> None:
        """Nothing to make room for."""

    def expect(self, order: Sequence[int], whole_shards: int) -> None:
        """Say in what order images are taken next.

        Args:
            order (sequence[int]): Of the images of one epoch.
            whole_shards (int): How many shards lie in memory at a time, for
                an order that takes their images together. 0 reads each image
                by itself.
        """
        for future in getattr(self, '_ahead', ()):
            future[1].cancel()
        self._order = np.asarray(order, np.int64)
        self._taken = self._asked = 0
        # Batches that are read ahead, with where they end in the order.
        self._ahead: Deque[Tuple[int, Future[Dict[str, Tensor]]]] = deque()
        self._most = whole_shards and shards_held(whole_shards)
        self._whole: OrderedDict[int, Future[List[bytes]]] = OrderedDict()
        self._lock = Lock()
        self._pid = os.getpid()

    def take(self, indices: List[int]) -> Dict[str, Tensor]:
        """What belongs to the images of a batch, by name."""
        number = len(indices)
        end = self._taken + number
        if (
            not number
            or self._pid != os.getpid()  # a worker has no threads
            or not np.array_equal(self._order[self._taken : end], indices)
        ):
            return self._gather(np.asarray(indices, np.int64), False)
        self._taken = end
        if not self._ahead or self._ahead[0][0] != end:
            for _, future in self._ahead:
                future.cancel()
            self._ahead.clear()
            self._asked = end
            self._submit(end - number, end)
        while len(self._ahead) <= self._read_ahead and self._asked < len(
            self._order
        ):
            start, self._asked = self._asked, self._asked + number
            self._asked = min(self._asked, len(self._order))
            self._submit(start, self._asked)
        return self._ahead.popleft()[1].result()

    def _submit(self, start: int, end: int) -> None:
        indices = self._order[start:end]
        whole = bool(self._most)
        future = pool().submit(self._gather, indices, whole)
        self._ahead.append((end, future))

    def _gather(self, indices: np.ndarray, whole: bool) -> Dict[str, Tensor]:
        """A batch, from disk: by whole shards, or image by image."""
        pinned = get_device() == 'cuda' and torch.cuda.is_initialized()
        batch = {
            name: torch.empty(
                (len(indices), *value.shape[1:]),
                dtype=torch.from_numpy(value).dtype,
                pin_memory=pinned,
            )
            for name, value in self._columns.items()
        }
        out = {name: value.numpy() for name, value in batch.items()}
        which = np.searchsorted(self._ends, indices, 'right')
        for number in np.unique(which):
            places = np.flatnonzero(which == number)
            files = self._files[number]
            local = indices[places] - self._ends[number] + files[0].count
            # In the order of the file.
            rows = sorted(zip(local.tolist(), places.tolist()))
            contents: Sequence[Optional[bytes]] = [None] * len(files)
            if whole:
                contents = self._contents(int(number))
            for file, content in zip(files, contents):
                file.take(rows, out, content)
        return batch

    def _contents(self, number: int) -> List[bytes]:
        """The files of a shard, of which as many are held as are needed."""
        with self._lock:
            future, mine = self._whole.get(number), False
            if future is None:
                future, mine = Future(), True
                self._whole[number] = future
            self._whole.move_to_end(number)
            if len(self._whole) > self._most:
                self._whole.popitem(last=False)
        if mine:
            try:
                files = self._files[number]
                future.set_result([file.content() for file in files])
            except BaseException as error:  # of whoever waits for it, too
                future.set_exception(error)
        return future.result()

    def labels(self) -> np.ndarray:
        """All labels, (length, )."""
        labels = [files[0].labels() for files in self._files]
        return np.concatenate([np.zeros(0, np.int64), *labels])

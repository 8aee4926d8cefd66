# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Optional

import torch
from torch import Tensor

from ...utils import to_device


class FeatureMemory:
    """Features of the newest images of a bank, on the CPU.

    Rows have the place of their number, so the memory of a run that was
    resumed is the same as that of one that was not.

    Args:
        capacity (int): Images that are remembered at most.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.seen = 0  # images in all, remembered or not
        self._rows: Optional[Tensor] = None

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def skip(self, count: int) -> None:
        """Leave out images that newer ones would have replaced by now."""
        self.seen += count

    def add(self, features: Tensor) -> None:
        """Remember (N, D), in place of the oldest if there is no room."""
        features = features.detach().cpu()
        places = torch.arange(self.seen, self.seen + len(features))
        places, features = (
            part[-self.capacity :] for part in (places, features)
        )
        needed = min(int(places[-1]) + 1, self.capacity)
        old = self._rows
        if old is None or len(old) < needed:
            length = min(self.capacity, max(needed, 2 * len(self)))
            self._rows = features.new_zeros(length, features.shape[1])
            if old is not None:
                self._rows[: len(old)] = old
        assert self._rows is not None
        self._rows[places % self.capacity] = features
        self.seen += len(features)

    def draw(self, number: int, width: int, device: torch.device) -> Tensor:
        """Rows of different images, drawn at random.

        Args:
            number (int): How many, or all if there are no more.
            width (int): D.
            device (torch.device): Where they are wanted.

        Returns:
            Tensor: (M, D).
        """
        if self._rows is None:
            return torch.zeros(0, width, device=device)
        chosen = torch.randperm(len(self), device='cpu')[:number]
        return to_device(self._rows[chosen], device)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Which images of a round no student is trained on."""

from typing import NamedTuple

import numpy as np


class HeldOut(NamedTuple):
    """The share of each shard that is held out from training.

    Which images these are follows from the shard's checksum alone, so it is
    the same in each process, after ``--resume``, and in a bank that takes the
    shard over.
    """

    share: float  # above 0 and below 1
    # Where a round keeps the images of several steps: how many it optimises.
    # Each is held out in all steps or in none. 0 where images are single.
    group: int = 0

    def number(self, count: int) -> int:
        """How many of so many single images are held out, never all."""
        # So that 0.29 of 100 is 29, in floating point as well.
        return min(int(count * self.share + 1e-9), count - 1)

    def mask(self, count: int, sha256: str) -> np.ndarray:
        """Which images of a shard are held out.

        Args:
            count (int): Its images.
            sha256 (str): Its checksum, hexadecimal.

        Returns:
            ndarray: (count, ), bool.
        """
        # Imported images may be of rounds of another kind.
        is_grouped = self.group and count % self.group == 0
        single = self.group if is_grouped else count
        # NumPy promises that this one draws the same for ever.
        order = np.random.RandomState(int(sha256[:8], 16)).permutation(single)
        mask: np.ndarray = np.zeros(single, bool)
        mask[order[: self.number(single)]] = True
        return np.tile(mask, count // single)

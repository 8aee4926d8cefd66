# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Iterator, Optional, Sequence, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmrazor.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ..utils import check_integer


def balanced_draws(
    length: int, num_samples: int, generator: torch.Generator
) -> torch.Tensor:
    """Random indices, each drawn equally often or once more than others.

    Args:
        length (int): Indices are 0..length-1.
        num_samples (int): How many to draw.
        generator (torch.Generator): Source of randomness.

    Returns:
        Tensor: (num_samples, ), one shuffled pass after the other.
    """
    passes = -(-num_samples // length)
    return torch.cat(
        [torch.randperm(length, generator=generator) for _ in range(passes)]
    )[:num_samples]


def block_draws(
    counts: Sequence[int],
    num_samples: int,
    buffer_shards: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Random indices like :func:`balanced_draws`, of few shards at a time.

    Shards lie on a circle in random order. Each image is drawn at a random
    place of the ``buffer_shards`` that its shard begins, so at any time those
    of so many shards are mixed, and a shard comes in, and another goes, as the
    images of one were drawn. With a buffer of all shards each order is as
    likely as any other.

    Args:
        counts (sequence[int]): Images of each shard.
        num_samples (int): How many to draw.
        buffer_shards (int): Shards whose images are mixed.
        generator (torch.Generator): Source of randomness.

    Returns:
        Tensor: (num_samples, ), one pass after the other.
    """
    sizes = torch.as_tensor(counts)
    shards, length = len(sizes), int(sizes.sum())
    shard_of = torch.arange(shards).repeat_interleave(sizes)
    span = min(buffer_shards, shards)

    def draw_pass() -> torch.Tensor:
        places = torch.randperm(shards, generator=generator)
        within = torch.rand(length, generator=generator, dtype=torch.float64)
        # Round the circle, so that none begins or ends with few shards.
        times = (places[shard_of] + span * within) % shards
        return times.argsort()

    passes = -(-num_samples // length)
    return torch.cat([draw_pass() for _ in range(passes)])[:num_samples]


@DATA_SAMPLERS.register_module()
class BankSampler(Sampler[int]):
    """A fixed number of draws an epoch from a bank that grows.

    MMEngine's loop and samplers take the number of steps from the size of the
    dataset when they are built; a bank is empty then. Each epoch draws from
    all images there are by then, evenly: one shuffled pass after the other.
    Those that the bank holds out are never drawn.

    Args:
        dataset (Sized): The bank.
        num_samples (int): Draws an epoch, over all processes together.
        seed (int, optional): Random seed. None draws one that all processes
            share. Defaults to None.
        buffer_shards (int): Shards whose images are mixed at a time, in
            random order of the shards. Each is then read as a whole, where
            the bank is on disk. 0 mixes all images. Defaults to 0.

    Raises:
        ValueError: If an argument makes no sense, or the buffer takes more
            than ``memory_limit`` of the bank.
    """

    def __init__(
        self,
        dataset: Sized,
        num_samples: int,
        seed: Optional[int] = None,
        buffer_shards: int = 0,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        if type(num_samples) is not int or num_samples < self.world_size:
            raise ValueError(
                'num_samples of BankSampler should be a number of images, at '
                f'least one for each of {self.world_size} processes, but got '
                f'{num_samples!r}.'
            )
        check_integer('buffer_shards of BankSampler', buffer_shards, 0)
        # Of the class: the bank itself is not open yet.
        if buffer_shards and not hasattr(type(dataset), 'opened'):
            raise ValueError(
                f'buffer_shards={buffer_shards} of BankSampler is for the '
                f'shards of an ImageBank, but dataset is a '
                f'{type(dataset).__name__}: leave it out.'
            )
        folder = getattr(dataset, 'folder', None)
        if buffer_shards and folder is not None and len(folder):
            bank: Any = dataset  # a finished one; hooks check those that grow
            counts = [shard.count for shard in folder.shards]
            bank.check_buffer(buffer_shards, counts, folder.image_bytes())
        self.buffer_shards = buffer_shards
        self.dataset = dataset
        self.num_samples = num_samples
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        if not len(self.dataset):
            raise ValueError(
                'The image bank is empty: let SynthesisHook make '
                'images (init_rounds or rounds above 0), give it '
                'an init_bank, which that hook imports, or name a finished '
                'bank by data_root.'
            )
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        bank: Any = self.dataset
        number = len(self) * self.world_size
        holds_out = getattr(bank, 'holds_out', False)
        places = bank.places(held_out=False) if holds_out else None
        if self.buffer_shards:
            # Processes take turns shard by shard, not image by image.
            counts = [shard.count for shard in bank.opened.shards]
            if places is not None:
                ends = np.cumsum(counts)
                counts = np.diff(np.searchsorted(places, ends), prepend=0)
            draws = block_draws(counts, number, self.buffer_shards, generator)
            own = slice(self.rank * len(self), (self.rank + 1) * len(self))
        else:
            length = len(bank) if places is None else len(places)
            draws = balanced_draws(length, number, generator)
            own = slice(self.rank, None, self.world_size)
        if places is not None:
            draws = torch.from_numpy(places)[draws]
        order = draws[own].tolist()
        if hasattr(bank, 'expect'):
            bank.expect(order, self.buffer_shards)
        return iter(order)

    def __len__(self) -> int:
        return self.num_samples // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which the draws depend on."""
        self.epoch = epoch

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Iterator, Optional, Sized

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from mmrazor.registry import DATA_SAMPLERS
from torch.utils.data import Sampler


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


@DATA_SAMPLERS.register_module()
class BankSampler(Sampler[int]):
    """A fixed number of draws an epoch from a bank that grows.

    MMEngine's loop and samplers take the number of steps from the size of the
    dataset when they are built; a bank is empty then. Each epoch draws from
    all images there are by then, evenly: one shuffled pass after the other.

    Args:
        dataset (Sized): The bank.
        num_samples (int): Draws an epoch, over all processes together.
        seed (int, optional): Random seed. None draws one that all processes
            share. Defaults to None.
    """

    def __init__(
        self, dataset: Sized, num_samples: int, seed: Optional[int] = None
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        if type(num_samples) is not int or num_samples < self.world_size:
            raise ValueError(
                'num_samples of BankSampler should be a number of images, at '
                f'least one for each of {self.world_size} processes, but got '
                f'{num_samples!r}.'
            )
        self.dataset = dataset
        self.num_samples = num_samples
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        if not len(self.dataset):
            raise ValueError(
                'The image bank is empty: let SynthesisHook make '
                'images (init_rounds or rounds above 0), or give '
                'it an init_bank.'
            )
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        draws = balanced_draws(
            len(self.dataset), len(self) * self.world_size, generator
        )
        return iter(draws[self.rank :: self.world_size].tolist())

    def __len__(self) -> int:
        return self.num_samples // self.world_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which the draws depend on."""
        self.epoch = epoch

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Images that are there before training, and random ones in their place."""

from typing import Any, Tuple

import numpy as np
import torch
from mmengine.runner import Runner
from torch import Tensor

from ..datasets import ImageBank
from ..models.synthesizers import Networks
from .hooks.synthesis_hook import synthesis_hooks


def check_early_images(runner: Runner, hook: str, purpose: str) -> None:
    """Check that there will be images before training.

    Args:
        runner (Runner): Of a run that was built.
        hook (str): Name of the hook that needs them.
        purpose (str): What it does with images.

    Raises:
        ValueError: If not.
    """
    bank = runner.train_dataloader.dataset
    if not isinstance(bank, ImageBank):
        raise ValueError(
            f'{hook} {purpose} synthetic images: set '
            'train_dataloader.dataset=dict(type="mmrazor.ImageBank"), but got '
            f'{type(bank).__name__}.'
        )
    made = [each.init_rounds for each in synthesis_hooks(runner)]
    if bank.folder is None and bank.init_bank is None and not any(made):
        raise ValueError(
            f'{hook} {purpose} images that are there before '
            'training, but init_rounds of SynthesisHook is 0 and there is no '
            'init_bank: set default_hooks.synthesis.init_rounds to 1 or more, '
            'or train_dataloader.dataset.init_bank.'
        )


def early_images(runner: Runner, number: int) -> Tensor:
    """Images of the bank that were there before training.

    Args:
        runner (Runner): Of a run that starts, its initial bank made.
        number (int): How many, at most; they are from all over it.

    Returns:
        Tensor: (N, C, H, W), uint8.
    """
    bank: Any = runner.train_dataloader.dataset
    count = len(bank)
    if synthesis_hooks(runner):
        # A run that is started again may have those of its first epoch.
        shards = bank.opened.shards
        count = sum(shard.count for shard in shards if shard.epoch < 0)
    places = bank.places(held_out=False)
    places = places[places < count]
    count = len(places)
    chosen = np.linspace(0, count - 1, min(number, count)).round()
    chosen = places[chosen.astype(int)]
    images: Tensor = bank.__getitems__(chosen.tolist())['inputs']
    return images


def example_inputs(runner: Runner, number: int) -> Tensor:
    """Random images as the networks of a run take them.

    Args:
        runner (Runner): Of a run that was built.
        number (int): How many.

    Returns:
        Tensor: (number, C, H, W), the same in each call.
    """
    networks = Networks.from_algorithm(runner.model)
    images = torch.rand(
        number,
        *_image_shape(runner, networks),
        generator=torch.Generator().manual_seed(0),
    )
    device = next(networks.teachers.parameters()).device
    inputs: Tensor = networks.normalize(images.to(device))
    return inputs


def _image_shape(runner: Runner, networks: Networks) -> Tuple[int, ...]:
    """(C, H, W) of the images of a run."""
    bank: Any = runner.train_dataloader.dataset
    if networks.image_shape is not None:
        return networks.image_shape
    if bank.folder is not None:
        return tuple(bank.folder.image_shape)
    (hook,) = synthesis_hooks(runner)
    device = next(networks.teachers.parameters()).device
    with torch.random.fork_rng([device] if device.type == 'cuda' else []):
        shape: Tuple[int, ...] = hook.synthesizer.check(
            networks, with_student=False
        )[1]
    return shape

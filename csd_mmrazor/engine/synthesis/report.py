# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run logs of its rounds."""

from typing import Dict

from mmengine.dist import get_dist_info
from mmengine.runner import Runner

from ...models.synthesizers import (
    SynthesisBatch,
    diversity_metrics,
    image_grid,
    recognition_metrics,
    teacher_decisions,
)
from .round_runner import SAMPLE, RoundRunner

# Images of the bank in which its diversity is measured.
_SAMPLE_SIZE = 512


def measure_round(
    rounds: RoundRunner, batch: SynthesisBatch, step: int
) -> Dict[str, float]:
    """A batch's losses, who recognises it, and how diverse the bank is.

    Args:
        rounds (RoundRunner): What made it.
        batch (SynthesisBatch): The batch.
        step (int): The epoch, which seeds the sample of the bank.

    Returns:
        dict[str, float]: By name.
    """
    sample = rounds.sample(_SAMPLE_SIZE, SAMPLE, step)
    # All of most batches.
    stride = -(-len(batch.images) // _SAMPLE_SIZE)
    images, labels = batch.images[::stride], batch.labels[::stride]
    if rounds.synthesizer.labels == 'none':
        # No classes were asked for: the teacher's decisions take their place.
        labels, sample['labels'] = (
            teacher_decisions(rounds.networks, part)
            for part in (images, sample['inputs'])
        )
    return {
        **batch.terms,
        **recognition_metrics(rounds.networks, images, labels),
        **diversity_metrics(
            rounds.networks,
            sample['inputs'],
            sample['labels'],
            rounds.num_classes,
        ),
        'images': len(rounds.bank),
    }


def report_round(
    runner: Runner,
    rounds: RoundRunner,
    batch: SynthesisBatch,
    name: str,
    step: int,
    grid_images: int,
) -> None:
    """Log a batch, and draw it.

    Args:
        runner (Runner): With logger and visualizer.
        rounds (RoundRunner): What made it.
        batch (SynthesisBatch): The batch.
        name (str): 'initial' or 'synthesis'.
        step (int): The epoch.
        grid_images (int): Images in the grid; 0 draws none.
    """
    measured = measure_round(rounds, batch, step)
    runner.visualizer.add_scalars(
        {f'{name}/{key}': value for key, value in measured.items()}, step=step
    )
    listed = ', '.join(f'{key}: {v:.4g}' for key, v in measured.items())
    runner.logger.info(f'{name}: {listed}')
    if grid_images:
        runner.visualizer.add_image(
            name, image_grid(batch.images, grid_images), step=step
        )


def describe_plan(runner: Runner) -> str:
    """What the number of processes makes of batch, steps and rates."""
    loader, world_size = runner.train_dataloader, get_dist_info()[1]
    batch_size = loader.batch_sampler.batch_size
    rates = ', '.join(
        f'{name} {values[0]:g}'
        for name, values in runner.optim_wrapper.get_lr().items()
        if not name.endswith('base_lr')
    )
    scaled = (runner.auto_scale_lr or {}).get('enable')
    return (
        f'{world_size} processes x {batch_size} images: effective '
        f'batch {world_size * batch_size}, {len(loader)} student '
        f'steps an epoch, {runner.max_iters} in all. Rates: {rates}, '
        + (
            'scaled with the effective batch.'
            if scaled
            else 'whatever the number of processes; --auto-scale-lr scales '
            'them with the effective batch.'
        )
    )

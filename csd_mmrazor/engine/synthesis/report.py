# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run logs of its rounds."""

from typing import Dict, Union

from mmengine.dist import get_dist_info
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner

from ...models.synthesizers import (
    SynthesisBatch,
    count_unrecognised,
    diversity_metrics,
    image_grid,
    recognition_metrics,
    teacher_decisions,
)
from ..optimizers.optim_wrapper_constructor import optimizers_of
from .round_runner import SAMPLE, RoundRunner

# Images of the bank in which its diversity is measured.
_SAMPLE_SIZE = 512
# Share of images with another class than the teacher sees, at most.
_TOLERATED = 0.1


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
    if not rounds.synthesizer.has_labels:
        # No classes were asked for: the teacher's decisions take their place.
        labels, sample['labels'] = (
            teacher_decisions(rounds.networks, part)
            for part in (images, sample['inputs'])
        )
    return {
        **batch.terms,
        # No more at once than synthesis takes: this has to fit after hours.
        **recognition_metrics(
            rounds.networks,
            images,
            labels,
            min(rounds.synthesizer.batch_size, 256),
        ),
        **diversity_metrics(
            rounds.networks,
            sample['inputs'],
            sample['labels'],
            rounds.num_classes,
        ),
        # Of all rounds since the last report.
        'unrecognised': rounds.unrecognised[0],
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
    if name == 'initial':
        warn_of_unrecognised(runner, 'initial', *rounds.unrecognised)
    if grid_images:
        runner.visualizer.add_image(
            name, image_grid(batch.images, grid_images), step=step
        )


def report_imported(runner: Runner, rounds: RoundRunner) -> None:
    """Log how many of the images that a bank starts with are recognised.

    Args:
        runner (Runner): With a logger.
        rounds (RoundRunner): With the bank.
    """
    starts = (
        f'The image bank starts with {len(rounds.bank)} imported images: no '
        'initial ones are made.'
    )
    if rounds.bank.init_labels == 'teacher':
        starts += ' Their labels are what the teacher takes them for.'
    if not rounds.asks_for_classes or rounds.bank.init_labels == 'teacher':
        runner.logger.info(starts)
        return
    sample = rounds.sample(_SAMPLE_SIZE, SAMPLE)
    wrong = count_unrecognised(
        rounds.networks, sample['inputs'], sample['labels']
    )
    total = len(sample['labels'])
    runner.logger.info(
        f'{starts} The teacher recognises {total - wrong} of {total} of them.'
    )
    warn_of_unrecognised(runner, 'imported', wrong, total)


def warn_of_unrecognised(
    runner: Runner, what: str, wrong: int, total: int
) -> None:
    """Warn of labels that the teacher would not give.

    Args:
        runner (Runner): With a logger.
        what (str): 'initial' or 'imported'.
        wrong (int): Images that the teacher takes for another class.
        total (int): All that were looked at.
    """
    if wrong <= _TOLERATED * total:
        return
    made_for, advice = (
        (
            'the one that they were made for',
            'This is common in short runs. For a better student, give the run '
            'more time, or raise init_iters of SynthesisHook or the weight of '
            'loss_oh. If the teacher is as accurate on real images as it '
            'should be, mean, std and channel order are right; otherwise '
            'check them in model.data_preprocessor.',
        )
        if what == 'initial'
        else (
            'their label',
            'Check that they were made for this teacher, and that their '
            'classes have its order; if that does not help, check mean, std '
            'and channel order of model.data_preprocessor.',
        )
    )
    runner.logger.warning(
        f'The teacher takes {wrong} of {total} {what} images for another '
        f'class than {made_for}. The student is trained with these wrong '
        f'labels, too, and may become less accurate. {advice}'
    )


def describe_plan(runner: Runner) -> str:
    """What the number of processes makes of batch, steps and rates."""
    loader, world_size = runner.train_dataloader, get_dist_info()[1]
    batch_size = loader.batch_sampler.batch_size
    rates = ', '.join(
        f'{name} {rate:g}'
        for name, rate in set_rates(runner.optim_wrapper).items()
    )
    counts = [
        wrapper._accumulative_counts
        for wrapper in optimizers_of(runner.optim_wrapper).values()
    ]
    accumulated = ''
    if max(counts) > 1:
        several = ', '.join(map(str, dict.fromkeys(counts)))
        accumulated = (
            f'; gradients of {several} steps are accumulated before weights '
            'change, which the effective batch leaves out'
        )
    scaling = ''
    if (runner.auto_scale_lr or {}).get('enable'):
        scaling = ', scaled with the effective batch'
    elif world_size > 1:
        scaling = (
            ', whatever the number of processes; --auto-scale-lr scales them '
            'with the effective batch'
        )
    return (
        f'{world_size} process{"es" * (world_size > 1)} x {batch_size} '
        'images: effective '
        f'batch {world_size * batch_size}, {len(loader)} student '
        f'steps an epoch, {runner.max_iters} in all{accumulated}. Rates: '
        f'{rates}{scaling}.'
    )


def set_rates(
    optim_wrapper: Union[OptimWrapper, OptimWrapperDict],
) -> Dict[str, float]:
    """The learning rates that a config sets, whatever schedulers make of them.

    Args:
        optim_wrapper (OptimWrapper | OptimWrapperDict): Of a run.

    Returns:
        dict[str, float]: Of the first parameters of each optimiser, by
        ``lr`` or ``name.lr``.
    """
    groups = {
        f'{name}.lr'.lstrip('.'): each.param_groups[0]
        for name, each in optimizers_of(optim_wrapper).items()
    }
    # Schedulers note what they start from.
    return {
        name: group.get('initial_lr', group['lr'])
        for name, group in groups.items()
    }

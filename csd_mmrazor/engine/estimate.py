# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run has still to do and what it costs, for people."""

import math
import time
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

import torch
import torch.nn as nn
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from ..models.synthesizers import ImageSynthesizer, Networks

# What makes each kind of work less.
LEVERS = dict(
    initial='default_hooks.synthesis.init_rounds or init_iters',
    synthesis='train_cfg.max_epochs or default_hooks.synthesis.synthesizer.'
    'iters',
    student='train_dataloader.sampler.num_samples or train_cfg.max_epochs',
    validation='validations: raise train_cfg.val_interval',
)
# Steps that are timed, after one that is not.
_TIMED = 2


class Estimate(NamedTuple):
    """What is left of a run, and how long each kind of it takes."""

    units: Dict[str, int]  # steps, and validations, of one process
    seconds: Dict[str, float]  # of a unit
    rounds: int  # of all processes
    images: int  # in the bank in the end
    image_bytes: int  # of one with all that belongs to it
    checkpoint_bytes: int  # of all that are kept
    memory: str

    def hours(self) -> Dict[str, float]:
        """Of each kind of work."""
        return {
            kind: units * self.seconds.get(kind, 0.0) / 3600
            for kind, units in self.units.items()
        }

    def lines(self) -> List[str]:
        """For people: the amounts, the costs and the largest two levers."""
        hours = self.hours()
        listed = ', '.join(
            f'{kind} {self.units[kind]} x {self.seconds.get(kind, 0):.3g} s'
            for kind in hours
        )
        largest = sorted(hours, key=lambda kind: -hours[kind])[:2]
        levers = '; '.join(
            f'{kind} takes {hours[kind]:.2f} h, half of it with half of '
            f'{LEVERS[kind]}'
            if kind != 'validation'
            else f'{kind} takes {hours[kind]:.2f} h, {LEVERS[kind]}'
            for kind in largest
        )
        return [
            f'Estimate: {sum(hours.values()):.2f} h on this machine '
            f'({listed}), {self.rounds} rounds, {self.images} images in the '
            f'end, {_size(self.images * self.image_bytes)} of disk for the '
            f'bank and {_size(self.checkpoint_bytes)} for checkpoints, '
            f'{self.memory}.',
            f'To make it fit: {levers}.',
        ]


def estimate(
    runner: Runner,
    hook: Any,
    seconds: Dict[str, float],
    left: Dict[str, float],
    image_shape: Sequence[int],
    num_classes: int,
    made: Sequence[Any] = (),
) -> Estimate:
    """Estimate what is left of a run.

    Args:
        runner (Runner): The run.
        hook (SynthesisHook): Its own.
        seconds (dict[str, float]): Of a step or a validation, by kind.
        left (dict[str, float]): Student steps and validations left.
        image_shape (sequence[int]): (C, H, W).
        num_classes (int): Classes K.
        made (sequence[Shard]): What the bank has. Defaults to nothing.
    """
    world_size = get_world_size()
    synthesizer = hook.synthesizer
    imported = bool(runner.train_dataloader.dataset.init_bank)
    done = sum(shard.epoch == -1 for shard in made)
    initial = 0 if imported else max(hook.init_rounds - done, 0)
    epochs = max(runner.max_epochs - runner.epoch, 0)
    later = hook.rounds * epochs
    model = getattr(runner.model, 'module', runner.model)
    numbers, bytes_of_targets = num_classes, 0
    if hook.target_maps:
        numbers += model.check_targets(True).size
    if synthesizer.keep_targets:
        bytes_of_targets = 2 * numbers
    elif hook.target_views:
        bytes_of_targets = hook.target_views * (2 * numbers + 3)
    return Estimate(
        dict(
            initial=-(-initial // world_size) * hook.init_iters,
            synthesis=later * synthesizer.iters,
            student=int(left.get('student', 0)),
            validation=int(left.get('validation', 0)),
        ),
        seconds,
        initial + later * world_size,
        sum(shard.count for shard in made)
        + initial * synthesizer.images_of(hook.init_iters)
        + later * world_size * synthesizer.images_of(synthesizer.iters),
        math.prod(image_shape) + 8 + bytes_of_targets,
        _kept_checkpoints(runner) * _checkpoint_bytes(model),
        _memory(next(model.parameters()).device),
    )


def timed_steps(
    runner: Runner,
    synthesizer: ImageSynthesizer,
    networks: Networks,
    num_classes: int,
    image_shape: Sequence[int],
    with_targets: bool,
) -> Dict[str, float]:
    """Seconds of a step of each kind. The networks are changed by them.

    Args:
        runner (Runner): The run, which is not to be trained afterwards.
        synthesizer (ImageSynthesizer): Its own.
        networks (Networks): Likewise.
        num_classes (int): Classes K.
        image_shape (sequence[int]): (C, H, W).
        with_targets (bool): Whether student steps read the teacher's logits
            from the bank: they are not timed then.
    """
    device = next(networks.teachers.parameters()).device

    def rounds(with_student: bool) -> Callable[[int], object]:
        return lambda steps: synthesizer.synthesize(
            networks,
            num_classes,
            seed=0,
            iters=steps,
            with_student=with_student,
        )

    def student(steps: int) -> None:
        number = runner.train_dataloader.batch_size
        for _ in range(steps):
            batch = dict(
                inputs=torch.randint(
                    256, (number, *image_shape), dtype=torch.uint8
                ),
                labels=torch.randint(num_classes, (number,)),
            )
            runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)

    kinds: Dict[str, Callable[[int], object]] = dict(
        synthesis=rounds(True), initial=rounds(False)
    )
    if not with_targets:
        kinds['student'] = student
    found = {}
    for kind, run in kinds.items():
        run(1)  # makes what is made once
        begun = _now(device)
        run(1)
        middle = _now(device)
        run(1 + _TIMED)
        # What a round takes beside its steps does not count twice.
        each = (_now(device) - middle - (middle - begun)) / _TIMED
        found[kind] = max(each, 0.0)
    return found


def _now(device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _kept_checkpoints(runner: Runner) -> int:
    """How many files there are in the end, and while the last is written."""
    hooks = [h for h in runner.hooks if hasattr(h, 'max_keep_ckpts')]
    return sum(
        (
            hook.max_keep_ckpts
            if hook.max_keep_ckpts > 0
            else -(-runner.max_epochs // max(hook.interval, 1))
        )
        + 1
        + bool(hook.save_best)
        for hook in hooks
    )


def _checkpoint_bytes(model: nn.Module) -> int:
    """Of weights, buffers, and as much again for trained weights' momenta."""
    state = model.state_dict()
    trained = [p for p in model.parameters() if p.requires_grad]
    return sum(
        value.numel() * value.element_size()
        for value in (*state.values(), *trained)
    )


def _memory(device: torch.device) -> str:
    """What was needed at most so far, which a rehearsal has tried."""
    if device.type == 'cuda':
        peak = torch.cuda.max_memory_allocated(device)
        return f'{_size(peak)} of GPU memory at its peak so far'
    try:
        import resource
    except ImportError:  # Windows
        return 'and no GPU'
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f'{_size(peak)} of memory so far, and no GPU'


def _size(number: float) -> str:
    return (
        f'{number / 1e9:.1f} GB' if number >= 1e9 else f'{number / 1e6:.1f} MB'
    )

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run has still to do and what it costs, for people."""

import math
import time
from collections import deque
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import torch
import torch.nn as nn
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from ..datasets import BankFolder, ImageBank
from ..datasets.bank_folder import IMPORTED, INITIAL, Shard
from ..datasets.image_bank import SHARD_SIZE
from ..datasets.image_codec import ImageCodec
from ..datasets.image_folder import list_pictures
from ..datasets.loose_rounds import read_notes
from ..datasets.shard_files import INDEX
from ..models.synthesizers import ImageSynthesizer, Networks
from .synthesis.bank_targets import BankTargets

# What makes each kind of work less.
LEVERS = dict(
    initial='half of it with half of default_hooks.synthesis.init_rounds or '
    'init_iters',
    synthesis='half of it with half of train_cfg.max_epochs or '
    'default_hooks.synthesis.synthesizer.iters',
    student='half of it with half of train_dataloader.sampler.num_samples or '
    'train_cfg.max_epochs',
    validation='half of it with twice the train_cfg.val_interval',
)
# Steps that are timed, after one that is not.
_TIMED = 2
# Shards whose files are looked at for the size of those to come.
_LOOKED_AT = 16
# Of the picture that stands for images where there are none, of 255. Those
# of docs/large.md with so much noise take 0.79 of their size as PNG.
_NOISE = 12


class Estimate(NamedTuple):
    """What is left of a run, and how long each kind of it takes."""

    units: Dict[str, int]  # steps, and validations, of one process
    seconds: Dict[str, float]  # of a unit
    rounds: int  # of all processes
    images: int  # in the bank in the end
    bank_bytes: int  # of the bank with all that belongs to it, at most
    checkpoint_bytes: int  # of all that are kept
    memory: str
    # Whether steps are replayed, which are timed as they are.
    is_replayed: bool = False

    def totals(self) -> Dict[str, float]:
        """Seconds of each kind of work."""
        return {
            kind: units * self.seconds.get(kind, 0.0)
            for kind, units in self.units.items()
        }

    def lines(self, is_timed: bool = False) -> List[str]:
        """For people: the amounts, the costs and the largest two levers.

        Args:
            is_timed (bool): Whether whole steps were timed, and not passes of
                the networks alone. Defaults to False.
        """
        source = 'timed steps' if is_timed else 'passes of the networks alone'
        if self.is_replayed:
            source += ' without CUDA graphs, so it may take much less'
        totals = self.totals()
        listed = ', '.join(
            f'{kind} {self.units[kind]} x {self.seconds.get(kind, 0):.3g} s'
            for kind in totals
        )
        largest = sorted(totals, key=lambda kind: -totals[kind])[:2]
        levers = '; '.join(
            f'{kind} takes {_span(totals[kind])}, {LEVERS[kind]}'
            for kind in largest
            if totals[kind]
        )
        return [
            f'Estimate: {_span(sum(totals.values()))} on this machine, by '
            f'{source} ({listed}), '
            f'{self.rounds} round{"s" * (self.rounds != 1)} to make, '
            f'{self.images} image{"s" * (self.images != 1)} in the end, '
            f'{_size(self.bank_bytes)} of disk for the bank and '
            f'{_size(self.checkpoint_bytes)} for checkpoints, {self.memory}.',
            # Of a run that is over, nothing takes any time.
            *([f'To make it fit: {levers}.'] if levers else []),
        ]


def _span(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f'{seconds:.3g} s'
    if seconds < 90 * 60:
        return f'{seconds / 60:.3g} min'
    return f'{seconds / 3600:.4g} h'


class _Part(NamedTuple):
    """Shards that a bank has, or gets at once."""

    images: int
    bytes: float


def estimate(
    runner: Runner,
    hook: Any,
    seconds: Dict[str, float],
    left: Dict[str, float],
    image_shape: Sequence[int],
    num_classes: int,
    folder: Optional[BankFolder] = None,
) -> Estimate:
    """Estimate what is left of a run.

    Args:
        runner (Runner): The run.
        hook (SynthesisHook): Its own.
        seconds (dict[str, float]): Of a step or a validation, by kind.
        left (dict[str, float]): Student steps and validations left.
        image_shape (sequence[int]): (C, H, W).
        num_classes (int): Classes K.
        folder (BankFolder, optional): What there is of its bank. Defaults to
            None, nothing.
    """
    world_size = get_world_size()
    synthesizer = hook.synthesizer
    bank: ImageBank = runner.train_dataloader.dataset
    model = getattr(runner.model, 'module', runner.model)
    beside = target_bytes(model, hook, num_classes)
    made = [] if folder is None else _made(folder, runner.epoch, beside)
    each = image_bytes(bank.codec, image_shape, folder) + beside
    if not made and bank.init_bank:
        made = _imported(bank, each, beside, image_shape, num_classes)
    shards = [] if folder is None else folder.shards
    # As ``BankFolder.had``, but what is of later epochs is made again.
    newest = max(
        ((s.epoch, s.index) for s in shards if s.epoch <= runner.epoch),
        default=(IMPORTED - 1, 0),
    )
    noted = set()  # which are only to be added
    if folder is not None:
        notes = [made.shard for made in read_notes(folder.path)]
        noted = {(s.epoch, s.index) for s in notes}

    def lacking(epoch: int, total: int) -> Tuple[int, int]:
        """Rounds of an epoch to add, and those of them to make."""
        rounds = {(epoch, i) for i in range(total) if (epoch, i) > newest}
        return len(rounds), len(rounds - noted)

    initial, initial_to_make = lacking(
        INITIAL, 0 if bank.init_bank else hook.init_rounds
    )
    epochs = max(runner.max_epochs - runner.epoch, 0)
    each_epoch = hook.rounds * world_size
    later, to_make = lacking(runner.epoch, each_epoch if epochs else 0)
    others = each_epoch * max(epochs - 1, 0)
    later, to_make = later + others, to_make + others

    def parts(rounds: int, iters: int, at_once: int) -> List[_Part]:
        count = synthesizer.images_of(iters)
        sizes = [at_once] * (rounds // at_once) + [rounds % at_once]
        return [_Part(n * count, n * count * each) for n in sizes if n]

    at_once = max(hook.rounds * world_size, 1)
    images, size = _kept(
        [
            *made,
            # Processes add all of the initial rounds together.
            *parts(
                initial,
                hook.init_iters,
                max(initial, 1) if world_size > 1 else 1,
            ),
            *parts(later, synthesizer.iters, at_once),
        ],
        bank.capacity,
    )
    return Estimate(
        dict(
            initial=-(-initial_to_make // world_size) * hook.init_iters,
            synthesis=-(-to_make // world_size) * synthesizer.iters,
            student=int(left.get('student', 0)),
            validation=int(left.get('validation', 0)),
        ),
        seconds,
        initial_to_make + to_make,
        images,
        math.ceil(size),
        _kept_checkpoints(runner) * _checkpoint_bytes(model),
        _memory(next(model.parameters()).device),
        bool(synthesizer.graph or getattr(model, 'replayed', None)),
    )


def check_buffer(
    runner: Runner, hook: Any, image_shape: Sequence[int], num_classes: int
) -> None:
    """Check that the shards that a run's sampler mixes fit into memory.

    Args:
        runner (Runner): The run.
        hook (SynthesisHook): Its own.
        image_shape (sequence[int]): (C, H, W).
        num_classes (int): Classes K.

    Raises:
        ValueError: If they do not; says what does.
    """
    buffer = getattr(runner.train_dataloader.sampler, 'buffer_shards', 0)
    if not buffer:
        return
    bank: ImageBank = runner.train_dataloader.dataset
    synthesizer = hook.synthesizer
    rounds = hook.rounds * get_world_size() * runner.max_epochs
    counts = [synthesizer.images_of(synthesizer.iters)] * rounds
    counts += initial_counts(bank, hook)
    if bank.capacity is not None:  # as many as there are at a time
        counts.sort(reverse=True)
        before = np.cumsum([0, *counts[:-1]])
        counts = [n for n, b in zip(counts, before) if b < bank.capacity]
    model = getattr(runner.model, 'module', runner.model)
    each = image_bytes(bank.codec, image_shape)
    each += target_bytes(model, hook, num_classes)
    bank.check_buffer(buffer, counts, each)


def initial_counts(bank: ImageBank, hook: Any) -> List[int]:
    """Images of each shard that there is before the first epoch.

    Args:
        bank (ImageBank): Of a run.
        hook (SynthesisHook): Of the same.
    """
    if bank.init_bank is None:
        return [hook.synthesizer.images_of(hook.init_iters)] * hook.init_rounds
    if BankFolder.exists(bank.init_bank):
        return [shard.count for shard in BankFolder(bank.init_bank).shards]
    number = len(list_pictures(bank.init_bank))
    return [min(SHARD_SIZE, number - i) for i in range(0, number, SHARD_SIZE)]


def target_bytes(model: Any, hook: Any, num_classes: int) -> int:
    """Bytes of what is kept of the teacher with an image.

    Args:
        model (nn.Module): The algorithm.
        hook (SynthesisHook): Of its run.
        num_classes (int): Classes K.
    """
    numbers = num_classes
    if hook.target_maps:
        numbers += model.check_targets(True).size
    if hook.synthesizer.keep_targets:
        return 2 * numbers
    return int(hook.target_views * (2 * numbers + 3))


def image_bytes(
    codec: ImageCodec,
    image_shape: Sequence[int],
    folder: Optional[BankFolder] = None,
) -> float:
    """Bytes of an image as a bank keeps it, with its label.

    Of a common format it is what those take that the bank has, or else a
    picture with some noise.

    Args:
        codec (ImageCodec): How images are written.
        image_shape (sequence[int]): (C, H, W).
        folder (BankFolder, optional): What there is of the bank. Defaults to
            None, nothing.
    """
    if codec.name == 'raw':
        return math.prod(image_shape) + 8
    shards = [] if folder is None else folder.shards
    known = [s for s in shards if s.format == codec.name][-_LOOKED_AT:]
    if folder is not None and known:
        size = sum(_file_bytes(folder, shard) for shard in known)
        return size / sum(shard.count for shard in known)
    height, width = image_shape[1:]
    slopes = np.add.outer(
        np.linspace(40, 140, height), np.linspace(0, 80, width)
    )
    noise = np.random.default_rng(0).normal(0, _NOISE, image_shape)
    picture = (slopes + noise).clip(0, 255).astype(np.uint8)
    return len(codec.encode(picture[None])[0]) + INDEX.itemsize


def _file_bytes(folder: BankFolder, shard: Shard) -> int:
    try:
        return (folder.path / shard.name).stat().st_size
    except OSError:
        return 0  # which is said when the bank is opened


def _made(folder: BankFolder, epoch: int, beside: int) -> List[_Part]:
    """What a bank has that a run goes on with, with targets."""
    return [
        _Part(s.count, _file_bytes(folder, s) + s.count * beside)
        for s in folder.shards
        if s.epoch <= epoch
    ]


def _imported(
    bank: ImageBank,
    each: float,
    beside: int,
    image_shape: Sequence[int],
    num_classes: int,
) -> List[_Part]:
    """What a run is about to start from."""
    root = str(bank.init_bank)
    if not BankFolder.exists(root):
        count = len(list_pictures(root))
        return [_Part(count, count * each)]
    parts = _made(BankFolder(root, image_shape, num_classes), 10**9, beside)
    if bank.link_init_bank:  # in the place of one
        parts = [_Part(n, n * beside) for n, _ in parts]
    return parts


def _kept(
    parts: Sequence[_Part], capacity: Optional[int]
) -> Tuple[int, float]:
    """Images that a bank has in the end, and bytes that it has at most."""
    kept: Deque[_Part] = deque()
    images, size, most = 0, 0.0, 0.0
    for part in parts:
        kept.append(part)
        images, size = images + part.images, size + part.bytes
        most = max(most, size)
        while capacity is not None and images - kept[0].images >= capacity:
            gone = kept.popleft()
            images, size = images - gone.images, size - gone.bytes
    return images, most


def timed_steps(
    runner: Runner,
    synthesizer: ImageSynthesizer,
    networks: Networks,
    num_classes: int,
    image_shape: Sequence[int],
    targets: Optional[BankTargets],
    with_initial: bool = True,
) -> Dict[str, float]:
    """Seconds of a step of each kind. The networks are changed by them.

    Args:
        runner (Runner): The run, which is not to be trained afterwards.
        synthesizer (ImageSynthesizer): Its own.
        networks (Networks): Likewise.
        num_classes (int): Classes K.
        image_shape (sequence[int]): (C, H, W).
        targets (BankTargets, optional): What student steps read of the
            teacher with the images; None where they run it.
        with_initial (bool): Whether there are rounds without the student.
            Defaults to True.
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
            batch.update(beside)
            runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)

    beside: Dict[str, torch.Tensor] = {}
    if targets is not None:
        number = runner.train_dataloader.batch_size
        images = torch.zeros(number, *image_shape, dtype=torch.uint8)
        made = targets.of(images.to(device), 0, 0)
        # As a bank gives them.
        beside = {name: value.cpu() for name, value in made.items()}
    kinds: Dict[str, Callable[[int], object]] = dict(synthesis=rounds(True))
    if with_initial:  # or all terms may look at the student
        kinds['initial'] = rounds(False)
    kinds['student'] = student
    found = {}
    model: Any = getattr(runner.model, 'module', runner.model)
    replayed = getattr(model, 'replayed', None)
    if replayed is not None:  # what is timed would be the making of a graph
        model.replayed = None
    for kind, run in kinds.items():
        run(1)  # makes what is made once
        begun = _now(device)
        run(1)
        middle = _now(device)
        run(1 + _TIMED)
        # What a round takes beside its steps does not count twice.
        each = (_now(device) - middle - (middle - begun)) / _TIMED
        found[kind] = max(each, 0.0)
    if replayed is not None:
        model.replayed = replayed
    return found


def _now(device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _kept_checkpoints(runner: Runner) -> int:
    """How many files there are in the end, and while the last is written."""
    count = 0
    for hook in runner.hooks:
        if not hasattr(hook, 'max_keep_ckpts'):
            continue
        kept = 0
        if hook.interval > 0:
            kept = -(-runner.max_epochs // hook.interval)
        if hook.max_keep_ckpts > 0:
            kept = min(kept, hook.max_keep_ckpts)
        best = hook.save_best or []
        count += kept + 1 + (1 if isinstance(best, str) else len(best))
    return count


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

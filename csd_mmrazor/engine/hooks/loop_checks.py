# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What trains on an image bank, checked before any image is made.

MMEngine takes parts of a training loop that a bank cannot work with: they
would train on nothing, or on less than the config says, without a word.
"""

import logging
import math
from functools import partial
from typing import Any, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.dist import get_dist_info
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.engine.hooks import SwitchRecipeHook
from mmrazor.engine.hooks import StopDistillHook
from torch.utils.data import DataLoader

from ...datasets import BankSampler, ImageBank, bank_collate
from ...datasets.held_out import HeldOut
from ...datasets.shared_pictures import check_apart
from ...models.algorithms import CSDDistillation
from ...models.augments import RandomCropFlip, check_padding
from ...models.preprocessors import (
    BankDataPreprocessor,
    check_preprocessor,
    check_scale,
)
from ...models.synthesizers import ImageSynthesizer, Networks
from ...models.utils import KeptMaps
from ...utils.suggestions import some_of
from ..estimate import initial_counts
from ..optimizers.optim_wrapper_constructor import (
    BESIDE_STUDENT,
    optimizers_of,
)

# Tops and lefts of views are 0..2 * padding, in a byte.
_MOST_PADDING = 127
# Sections that are of no use to teachers, and why.
_OF_STUDENTS = dict(
    activation_checkpointing='no weights of a teacher are trained',
    efficient_conv_bn_eval='synthesis needs the BN layers of a teacher as '
    'they are, and is fast with them itself',
)


def check_loop(runner: Runner) -> None:
    """Check that all of a run can work with a bank that grows.

    Args:
        runner (Runner): Of a run with ``SynthesisHook``, built.

    Raises:
        ValueError: If a part of it cannot; names it and what to set.
    """
    loop = runner.train_loop
    if not isinstance(loop, EpochBasedTrainLoop):
        raise ValueError(
            'SynthesisHook makes images before each epoch, and '
            f'{type(loop).__name__} has no epochs: set '
            'train_cfg=dict(by_epoch=True, max_epochs=...), with '
            'train_dataloader.sampler.num_samples for their length.'
        )
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and not hook.by_epoch:
            raise ValueError(
                f'by_epoch=False of {type(hook).__name__} saves within '
                'epochs, where a run on an image bank cannot be resumed: set '
                'default_hooks.checkpoint.by_epoch=True, and interval in '
                'epochs.'
            )
        if isinstance(hook, CheckpointHook):
            _warn_of_gaps(hook, loop.dataloader.dataset)
    check_hooks(runner)
    check_loader(loop.dataloader)
    check_accumulation(runner, len(loop.dataloader))


def check_teachers_stay(cfg: Config) -> None:
    """Check that MMEngine does not replace how teachers compute.

    Args:
        cfg (Config): Of a run with ``SynthesisHook``.

    Raises:
        ValueError: If it would; names the section.
    """
    for section, reason in _OF_STUDENTS.items():
        parts = cfg.get(section) or ()
        for part in [parts] if isinstance(parts, str) else parts:
            if part.partition('.')[0] in ('teacher', 'teachers'):
                raise ValueError(
                    f'{section} names {part}, but {reason}: leave it out '
                    f'of {section}.'
                )


def _warn_of_gaps(hook: CheckpointHook, bank: Any) -> None:
    """Say so if images may be dropped that the last checkpoint needs."""
    capacity = getattr(bank, 'capacity', None)
    if capacity is not None and hook.interval > 1:
        print_log(
            f'{type(hook).__name__} saves every {hook.interval} epochs, and '
            f'capacity={capacity} of ImageBank drops old images before each '
            'of them. A run that is killed between two checkpoints cannot be '
            'resumed from the last one if images that it needs are gone: set '
            'default_hooks.checkpoint.interval=1.',
            logger='current',
            level=logging.WARNING,
        )


def check_images(
    model: Any, networks: Networks, image_shape: Tuple[int, ...]
) -> None:
    """Check that synthesis and training mean the same images.

    Args:
        model (nn.Module): The algorithm, wrapped or not.
        networks (Networks): Its networks.
        image_shape (tuple[int]): (C, H, W) that the generator makes.

    Raises:
        ValueError: If the algorithm expects others, or treats them in another
            way than synthesis does.
    """
    model = getattr(model, 'module', model)
    wanted = getattr(model, 'image_shape', image_shape)
    if tuple(wanted) != image_shape:
        raise ValueError(
            f"The synthesizer's generator makes images of {image_shape}, "
            f'but model.image_shape is {tuple(wanted)}: set img_size and '
            'channels of the one, or the other.'
        )
    if hasattr(model, 'data_preprocessor'):
        teachers = enumerate(networks.each_teacher)
        check_preprocessor(
            model.data_preprocessor,
            image_shape,
            {f'teacher {index}': each for index, each in teachers},
        )
        check_scale(model.data_preprocessor)


def check_crops(
    model: Any, synthesizer: ImageSynthesizer, image_shape: Tuple[int, ...]
) -> None:
    """Check that random crops have some of their images.

    Args:
        model (nn.Module): The algorithm, wrapped or not.
        synthesizer (ImageSynthesizer): What makes the images.
        image_shape (tuple[int]): (C, H, W) that the generator makes.

    Raises:
        ValueError: If one could have nothing of an image.
    """
    model = getattr(model, 'module', model)
    preprocessor = getattr(model, 'data_preprocessor', None)
    augments = {
        'model.data_preprocessor.augment': getattr(
            preprocessor, 'augment', None
        ),
        'augment of the synthesizer': synthesizer.augment,
        'view_augment of the synthesizer': synthesizer.view_augment,
    }
    for name, augment in augments.items():
        if isinstance(augment, RandomCropFlip):
            check_padding(name, augment.padding, image_shape)


def check_labels(model: Any, synthesizer: ImageSynthesizer) -> None:
    """Check that nothing learns from labels where images have none.

    Args:
        model (nn.Module): The algorithm, wrapped or not.
        synthesizer (ImageSynthesizer): What makes the images.

    Raises:
        ValueError: If something does; says what to set.
    """
    if synthesizer.has_labels:
        return
    model = getattr(model, 'module', model)
    learners = {
        'model.student_loss': getattr(model, 'student_loss', None),
        'model.aux_head': getattr(model, 'aux_head', None),
        'model.calculate_student_loss': getattr(
            model, 'calculate_student_loss', None
        ),
    }
    for name, value in learners.items():
        if value not in (None, False):
            raise ValueError(
                'labels="none" of the synthesizer makes images without '
                f'labels, but {name} learns from labels: set it to '
                f'{"False" if value is True else "None"}, or labels="random" '
                'with a loss that asks for them, such as OneHotLoss.'
            )


def check_no_gathering(synthesizer: ImageSynthesizer) -> None:
    """Check that no loss of synthesis waits for other processes.

    Each makes rounds of its own, so one would wait for ever.

    Args:
        synthesizer (ImageSynthesizer): What makes the images.

    Raises:
        ValueError: If one does, where there are several; says what to set.
    """
    if get_dist_info()[1] == 1:
        return
    for name, part in synthesizer.named_modules():
        if getattr(part, 'gather', False) is True:
            raise ValueError(
                f'{type(part).__name__} ({name} of the synthesizer) gathers '
                'what all processes have, but each makes images by itself: '
                'set its gather=False.'
            )


def check_targets(
    model: Any, synthesizer: ImageSynthesizer, views: int, with_maps: bool
) -> Optional[KeptMaps]:
    """Check that targets of the teacher can be kept, and suffice.

    Args:
        model (nn.Module): The algorithm, wrapped or not.
        synthesizer (ImageSynthesizer): What makes the images.
        views (int): ``target_views`` of the hook.
        with_maps (bool): ``target_maps`` of the hook.

    Returns:
        KeptMaps | None: What is kept besides the teacher's logits, if
        anything is.

    Raises:
        ValueError: If not; says what to set.
    """
    if not (synthesizer.keep_targets or views):
        return None
    model = getattr(model, 'module', model)
    option = (
        f'target_views={views} of SynthesisHook'
        if views
        else 'keep_targets=True of the synthesizer'
    )
    if not isinstance(model, CSDDistillation):
        raise ValueError(
            f'{option} keeps what the teacher says for CSDDistillation, but '
            f'model is {type(model).__name__}, which runs its teacher in each '
            'step: leave it out, or set model.type="CSDDistillation".'
        )
    preprocessor = model.data_preprocessor
    augment: Any = getattr(preprocessor, 'augment', None)
    if not views and augment is not None:
        raise ValueError(
            f'{option} keeps what the teacher says of the images as they are '
            'kept, augmented in synthesis, but '
            'model.data_preprocessor.augment='
            f'{type(augment).__name__} would change them in student steps: '
            'set it to None.'
        )
    if views and not isinstance(augment, RandomCropFlip):
        raise ValueError(
            f'{option} keeps what the teacher says of views by '
            'RandomCropFlip, but model.data_preprocessor='
            f'{type(preprocessor).__name__} has '
            f'augment={augment and type(augment).__name__}: set it to '
            'dict(type="RandomCropFlip"), or leave target_views out.'
        )
    if views and augment.padding > _MOST_PADDING:
        raise ValueError(
            f'{option} keeps where views lie in a byte each, so padding of '
            'model.data_preprocessor.augment can be up to '
            f'{_MOST_PADDING}, but got {augment.padding}.'
        )
    if with_maps and synthesizer.keep_targets and synthesizer.with_compile:
        raise ValueError(
            'target_maps=True of SynthesisHook records layers of the teacher '
            'in synthesis, which compile=True of the synthesizer cannot: set '
            'compile=False, or target_views in place of keep_targets.'
        )
    return model.check_targets(with_maps)


def check_format(
    bank: ImageBank,
    image_shape: Tuple[int, ...],
    synthesizer: ImageSynthesizer,
    views: int,
) -> None:
    """Check that images can be written in the format of a bank.

    Args:
        bank (ImageBank): What is trained on.
        image_shape (tuple[int]): (C, H, W) that the generator makes.
        synthesizer (ImageSynthesizer): What makes the images.
        views (int): ``target_views`` of the hook.

    Raises:
        ValueError: If not, or if something is noted of images as they were
            before they were written, and these are others.
    """
    codec = bank.codec
    codec.check_channels(image_shape[0])
    if not codec.is_lossy:
        return
    uses = {
        'keep_targets=True of the synthesizer': synthesizer.keep_targets,
        f'target_views={views} of SynthesisHook': views,
        'a loss of the synthesizer': synthesizer.memory_size,
    }
    for name, is_used in uses.items():
        if is_used:
            raise ValueError(
                f'image_format={codec.name!r} of ImageBank changes images as '
                f'they are written, but {name} remembers them as they were '
                'made: set it to "png" or "raw".'
            )


def check_held_out(bank: ImageBank, synthesizer: ImageSynthesizer) -> None:
    """Check that a share of the rounds that is held out is an image or more.

    Args:
        bank (ImageBank): What is trained on.
        synthesizer (ImageSynthesizer): What makes the images.

    Raises:
        ValueError: If it is none; says what to set.
    """
    share = bank.held_out_share
    single = synthesizer.kept_together or synthesizer.images_of(1)
    if share and not HeldOut(share).number(single):
        raise ValueError(
            f'held_out={share} of ImageBank holds out none of the {single} '
            'images that a round optimises: set it to '
            f'{math.ceil(1000 / single) / 1000} or more, or to 0, or raise '
            'batch_size of the '
            'synthesizer.'
            if single > 1
            else f'held_out={share} of ImageBank holds out a part of each '
            'round, but a round has one image: raise batch_size of the '
            'synthesizer, or set held_out=0.'
        )


def check_compared(
    images: str, named: str, bank: ImageBank, synthesis: Any, rounds: int
) -> None:
    """Check that there will be the images by which students are compared.

    Args:
        images (str): Set of these images.
        named (str): What asks for them.
        bank (ImageBank): What is trained on.
        synthesis (SynthesisHook, optional): What makes images, if any does.
        rounds (int): That all processes make for epochs.

    Raises:
        ValueError: If they will not be there, or not in all epochs; says what
            to set.
    """
    if images == 'fresh' and synthesis is None:
        raise ValueError(
            f'{named} is of images that are made for this alone, but the run '
            'has no SynthesisHook to make them: take other images.'
        )
    if images != 'initial' or synthesis is None:
        return
    counts = initial_counts(bank, synthesis)
    if not sum(counts):
        raise ValueError(
            f'{named} compares students on images that are there before the '
            'first epoch, but there are none: set init_rounds of '
            'SynthesisHook to 1 or more, or init_bank of ImageBank, or '
            'another rule, such as "held_out.kl".'
        )
    each = synthesis.synthesizer.images_of(synthesis.synthesizer.iters)
    # The oldest shard goes where so many newer ones are there.
    newer = sum(counts[1:]) + rounds * each
    if bank.capacity is not None and newer >= bank.capacity:
        raise ValueError(
            f'{named} compares students on the images that are there before '
            f'the first epoch, but capacity={bank.capacity} of ImageBank '
            'drops the oldest images during the run, these first: set it to '
            f'{newer + 1} or more, or to None, or set another rule, such as '
            '"last".'
        )


def check_val_pictures(runner: Runner, bank: ImageBank) -> None:
    """Check that validation has other pictures than the bank starts with.

    Args:
        runner (Runner): Of the run, about to start.
        bank (ImageBank): Its bank.

    Raises:
        ValueError: If more than a tenth are the same; says what to set.
    """
    source, loop = bank.init_bank, runner.val_loop
    if source is None or loop is None:
        return
    told = check_apart(
        loop.dataloader.dataset,
        source,
        ('val_dataloader.dataset', f'init_bank={str(source)!r}'),
        'set val_dataloader, val_cfg and val_evaluator to None',
    )
    if told:
        runner.logger.warning(f'{told[0].upper()}{told[1:]}.')


def check_loader(loader: DataLoader[Any]) -> None:
    """Check that a loader draws whole batches of a bank.

    Args:
        loader (DataLoader): Over an ``ImageBank``.

    Raises:
        ValueError: If it cannot; says what to set.
    """
    sampler = getattr(loader.batch_sampler, 'sampler', None)
    if not isinstance(sampler, BankSampler):
        raise ValueError(
            'train_dataloader.sampler should be '
            'dict(type="mmrazor.BankSampler", num_samples=...), or one that '
            f'inherits it, but got {type(sampler).__name__}: an image bank '
            'grows, and other samplers take its size when they are built.'
        )
    batch_size = getattr(loader.batch_sampler, 'batch_size', 1)
    if not len(loader):
        raise ValueError(
            'An epoch would have no student step: '
            f'train_dataloader.batch_size={batch_size} (of each process) is '
            f'more than the {len(sampler)} images of sampler.num_samples, '
            'and drop_last=True. Set batch_size lower, num_samples higher, '
            'or drop_last=False.'
        )
    if batch_size > len(sampler):
        print_log(
            f'train_dataloader.batch_size={batch_size} (of each process) is '
            f'more than the {len(sampler)} images of sampler.num_samples: an '
            'epoch is one student step, on all of them.',
            logger='current',
            level=logging.WARNING,
        )
    samples = dict(
        inputs=torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
        labels=torch.zeros(2, dtype=torch.int64),
    )
    try:
        collated: Any = loader.collate_fn(samples)  # type: ignore[arg-type]
        fits = torch.is_tensor(collated['inputs'])
    except Exception:
        fits = False
    if not fits:
        collate = loader.collate_fn
        given = collate.keywords if isinstance(collate, partial) else {}
        collate = collate.func if isinstance(collate, partial) else collate
        if collate is bank_collate:
            raise ValueError(
                'train_dataloader.collate_fn=dict(type="bank_collate") takes '
                f'no other keys, but got {some_of([*given])}: leave them out.'
            )
        raise ValueError(
            'train_dataloader.collate_fn should be dict(type="bank_collate")'
            ', but got '
            f'{getattr(collate, "__name__", type(collate).__name__)}: an '
            'image bank hands out whole batches, dict(inputs=, labels=), '
            'and inputs have to stay one tensor.'
        )


def check_accumulation(runner: Runner, steps: int) -> None:
    """Check that gradients are not accumulated over more than an epoch.

    Args:
        runner (Runner): Of the run.
        steps (int): Student steps an epoch.

    Raises:
        ValueError: If they are; names the option.
    """
    for name, part in optimizers_of(runner.optim_wrapper).items():
        counts = getattr(part, '_accumulative_counts', 1)
        if counts > steps:
            where = f'optim_wrapper.{name}'.rstrip('.')
            raise ValueError(
                f'{where}.accumulative_counts={counts} is more '
                f'than the {steps} steps of an epoch, over which gradients '
                'are accumulated at most: set it lower, or '
                'train_dataloader.sampler.num_samples higher.'
            )


def check_hooks(runner: Runner) -> None:
    """Check that hooks can do what they are to do in an epoch to come.

    Args:
        runner (Runner): Of the run.

    Raises:
        ValueError: If one cannot; says what to leave out.
    """
    model: Any = getattr(runner.model, 'module', runner.model)
    is_bank = isinstance(runner.train_loop.dataloader.dataset, ImageBank)
    for hook in runner.hooks:
        if isinstance(hook, SwitchRecipeHook) and is_bank:
            _check_recipes(hook, model)
        if isinstance(hook, StopDistillHook) and not hasattr(
            model, 'distillation_stopped'
        ):
            raise ValueError(
                f'StopDistillHook (stop_epoch={hook.stop_epoch}) cannot stop '
                f'the distillation of {type(model).__name__}, which has no '
                'distillation_stopped, and would end the run in that epoch: '
                'leave it out.'
            )


def check_optimizers_step(runner: Runner) -> None:
    """Check that ``CSDDistillation`` trains all weights and by all optimizers.

    Args:
        runner (Runner): Of the run. Of other algorithms, and of classes of
            one's own with another ``train_step``, nothing is checked.

    Raises:
        ValueError: If an optimizer would never step, or if none has a weight
            that is not frozen; says what to set.
    """
    model: Any = getattr(runner.model, 'module', runner.model)
    own = CSDDistillation.train_step
    if getattr(type(model), 'train_step', None) is not own:
        return
    parts = optimizers_of(runner.optim_wrapper)
    for name in {*parts} - {'', 'architecture', 'aux_head'}:
        text = f'optim_wrapper.{name} would never step: '
        if name not in BESIDE_STUDENT:
            raise ValueError(
                f'{text}CSDDistillation has steps of "architecture" and of '
                f'"aux_head" alone. Leave {name} out.'
            )
        raise ValueError(
            f'{text}the optimizer of "architecture" trains {name}, too. For '
            'another learning rate there, set in its place '
            'optim_wrapper.architecture.paramwise_cfg=dict(custom_keys='
            f'dict({name}=dict(lr_mult=...))).'
        )
    trained = {
        id(param)
        for part in parts.values()
        for group in part.param_groups
        for param in group['params']
    }
    left_out = [
        name
        for name, param in model.named_parameters()
        if param.requires_grad and id(param) not in trained
    ]
    if left_out:
        raise ValueError(
            f'No optimizer has {some_of(left_out)} of CSDDistillation, which '
            'would stay random: set optim_wrapper.constructor='
            '"mmrazor.DistillationOptimWrapperConstructor", whose optimizer '
            'of "architecture" also trains the distiller and student_loss. '
            'Set requires_grad=False of what is to stay as it is.'
        )


def _check_recipes(hook: SwitchRecipeHook, model: torch.nn.Module) -> None:
    """Refuse recipes that would change nothing, or fail in their epoch."""
    is_csd = isinstance(model, CSDDistillation)
    impossible = {'train_pipeline'}
    preprocessor = getattr(model, 'data_preprocessor', None)
    if is_csd or isinstance(preprocessor, BankDataPreprocessor):
        impossible.add('batch_augments')
    if is_csd:
        impossible.add('loss')
    for epoch, recipe in hook.schedule.items():
        for name in sorted(impossible & set(recipe)):
            raise ValueError(
                f'SwitchRecipeHook cannot switch {name} (action_epoch='
                f'{epoch}) of {type(model).__name__} on an image bank: take '
                'it out of the schedule.'
            )

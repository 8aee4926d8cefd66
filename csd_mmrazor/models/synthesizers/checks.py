# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
from contextlib import suppress
from functools import partial
from inspect import signature
from typing import Any, Tuple

import torch
import torch.nn as nn
from mmengine.logging import print_log
from torch import Tensor

from ..utils import (
    about_outputs,
    check_not_cut_off,
    check_outputs,
    check_passes_gradients,
    check_repeats,
    check_statistics,
    check_weights,
    count_classes,
    frozen,
    keep_contiguous,
    layer_means,
    logits_of,
    needs_contiguous,
    same_classes,
)
from .networks import Networks


def check_networks(
    networks: Networks, generator: nn.Module, needs_bn: bool
) -> Tuple[int, Tuple[int, ...]]:
    """Check that networks fit a generator and each other.

    Args:
        networks (Networks): What images are to be synthesised for.
        generator (nn.Module): Makes two images for one pass of each.
        needs_bn (bool): Whether teachers need BN layers.

    Returns:
        tuple[int, tuple[int]]: The number of classes and the images' shape
        (C, H, W).

    Raises:
        ValueError: If the networks do not take the images, their numbers of
            classes differ, BN layers are lacking, a weight or statistic is
            one that no training leaves, one is random in eval mode, or a
            teacher returns probabilities or sigmoids.
    """
    _check_weights(networks)
    _check_generator(generator)
    check_not_cut_off('generator', generator, lambda: generator(None, 2))
    with frozen(*networks.modules, generator), torch.no_grad():
        device = next(networks.teachers.parameters()).device
        generator.to(device)
        images = _two_images(generator, device)
        lowest, highest = images.min().item(), images.max().item()
        # Adapters round when they clip.
        if not -1e-3 <= lowest <= highest <= 1 + 1e-3:
            raise ValueError(
                'generator of ImageSynthesizer should make images in '
                f'[0, 1], but {type(generator).__name__} made values '
                f'from {lowest:.3g} to {highest:.3g}: wrap it in '
                'dict(type="GeneratorAdapter", to="images", mean=..., '
                "std=...) if they are networks' inputs."
            )
        inputs = networks.normalize(images)
        classes = {}
        for index, model in enumerate(
            [*networks.each_teacher, networks.student]
        ):
            role = (
                'student'
                if index == len(networks.each_teacher)
                else f'teacher {index}'
            )
            # Generators of others may make images in channels_last.
            if needs_contiguous(partial(model, inputs, mode='tensor')):
                keep_contiguous(model)
            with layer_means(model) as means:
                classes[role] = count_classes(
                    model,
                    inputs,
                    f'the {role}',
                    "the generator's images of shape "
                    f'{tuple(inputs.shape[1:])}',
                )
            if needs_bn and not means and role != 'student':
                raise ValueError(
                    f'{role} ({type(model).__name__}) has no BN '
                    'layer with running statistics, so its images cannot '
                    'be matched to them: set loss_weight=0 of '
                    'BNStatisticsLoss (losses.loss_bn in the configs) and '
                    'of any other loss that looks at BN layers.'
                )
        for index, teacher in enumerate(networks.each_teacher):
            _check_gradients(teacher, inputs, f'teacher {index}', needs_bn)
        for role, model in networks.by_role.items():
            _check_outputs(model, inputs, role)
            new = check_statistics(model, inputs, role)
            if needs_bn and new and model is not networks.student:
                print_log(
                    f'{role} ({type(model).__name__}) was never trained: '
                    f'{len(new)} of its BN layers ({", ".join(new[:3])}) '
                    'have the statistics of a new layer, mean 0 and '
                    'variance 1, which images will be matched to.',
                    'current',
                    logging.WARNING,
                )
    if same_classes(classes) < 2:
        raise ValueError(
            'teachers and student should have at least 2 classes, but got '
            f'{classes}: set head.num_classes.'
        )
    return same_classes(classes), tuple(inputs.shape[1:])


def check_begun(who: str, module: nn.Module) -> None:
    """Check that a module that somebody wrote is one of torch.

    Raises:
        TypeError: If it is none, or does not begin as one; says how to.
    """
    name = type(module).__name__
    if not isinstance(module, nn.Module):
        raise TypeError(
            f'{who} should be an nn.Module, but got {name}: let the class '
            'inherit it.'
        )
    if '_modules' not in vars(module):
        raise TypeError(
            f'{who}: {name}.__init__() has to call super().__init__() before '
            'all else.'
        )


def _check_generator(generator: nn.Module) -> None:
    """Check that a generator can be called as rounds do."""
    who = f'generator of ImageSynthesizer ({type(generator).__name__})'
    if not hasattr(generator, 'latents_of'):
        width = getattr(generator, 'latent_dim', None)
        if not isinstance(width, int) or width < 1:
            raise ValueError(
                f'{who} should have latent_dim, the width of its latents, 1 '
                f'or more, but it is {width!r}: set self.latent_dim.'
            )
    with suppress(ValueError):  # of what has no signature
        try:
            signature(generator.forward).bind(None, 2)
        except TypeError as error:
            raise TypeError(
                f'{who} is called with latents (N, latent_dim), or None to '
                f'draw them, and their number N, but: {error}. Write '
                'forward(self, data=None, batch_size=1).'
            ) from error


def _two_images(generator: Any, device: torch.device) -> Tensor:
    """Of latents as rounds draw them."""
    if hasattr(generator, 'latents_of'):
        return generator(None, 2)
    images = generator(torch.randn(2, generator.latent_dim, device=device), 2)
    if not torch.is_tensor(images) or images.shape[:1] != (2,):
        got = tuple(images.shape) if torch.is_tensor(images) else type(images)
        raise ValueError(
            'generator of ImageSynthesizer should make an image of each '
            f'latent, (N, C, H, W), but {type(generator).__name__} made {got} '
            'of 2.'
        )
    return images


def check_classifiers(networks: Networks, inputs: Tensor, images: str) -> int:
    """Check that networks can learn from each other on given images.

    Args:
        networks (Networks): Teachers and student.
        inputs (Tensor): (N, C, H, W), normalised.
        images (str): What the inputs are called, for the messages.

    Returns:
        int: The number of classes.

    Raises:
        ValueError: As of :func:`check_networks`, of BN layers aside.
    """
    _check_weights(networks)
    classes = {}
    with frozen(*networks.modules), torch.no_grad():
        for role, model in networks.by_role.items():
            classes[role] = count_classes(model, inputs, role, images)
            _check_outputs(model, inputs, role)
            check_statistics(model, inputs, role)
    return same_classes(classes)


def _check_weights(networks: Networks) -> None:
    for role, model in networks.by_role.items():
        check_weights(model, role)


def _check_outputs(model: nn.Module, inputs: Tensor, role: str) -> None:
    """Check that a network in eval mode is not random, and returns logits."""
    who = f'{role} ({type(model).__name__})'
    again = logits_of(model(inputs, mode='tensor'))
    with torch.enable_grad():  # whose graph shows what is last
        inputs = inputs.detach().requires_grad_() * 1
        logits = logits_of(model(inputs, mode='tensor'))
    check_repeats(logits.detach(), again, who)
    kind = check_outputs(logits, who)
    if kind:
        print_log(f'{who} {about_outputs(kind)}.', 'current', logging.WARNING)


def _check_gradients(
    teacher: nn.Module, inputs: Tensor, role: str, needs_bn: bool
) -> None:
    """Check that gradients reach a teacher's inputs, of its BN layers too.

    Gradient checkpointing runs layers a second time and shows losses only
    the first, which has no graph.
    """
    inputs = inputs.detach().requires_grad_()
    with torch.enable_grad(), layer_means(teacher) as means:
        logits = logits_of(teacher(inputs, mode='tensor'))
    if needs_bn and not all(mean.requires_grad for mean in means):
        raise ValueError(
            f'No gradient passes from the BN layers of {role} '
            f'({type(teacher).__name__}) to its inputs, as with gradient '
            'checkpointing: set with_cp=False in its backbone, or whatever '
            'else switches that on.'
        )
    check_passes_gradients(
        logits, inputs, f'{role} ({type(teacher).__name__})'
    )

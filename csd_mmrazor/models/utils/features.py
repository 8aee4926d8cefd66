# Copyright (c) csd_mmrazor developers. All rights reserved.
import difflib
import math
from contextlib import contextmanager
from typing import Iterator, List, Optional, Sequence, Union

import torch
import torch.nn as nn
from torch import Tensor

from ...utils.suggestions import some_of
from .cast_weights import autocast_dtype
from .fast_frozen_bn import bn_layers, seen_inputs


@contextmanager
def recorded_outputs(module: nn.Module) -> Iterator[List]:
    """Collect what ``module`` returns while the context is open."""
    outputs = []
    handle = module.register_forward_hook(
        lambda _, args, output: outputs.append(output)
    )
    try:
        yield outputs
    finally:
        handle.remove()


def as_map(
    feature: Union[Tensor, Sequence[Tensor]],
    size: Optional[Sequence[int]] = None,
) -> Tensor:
    """A backbone's last output in the form of a feature map.

    Args:
        feature (Tensor | sequence[Tensor]): Maps (N, D, H, W), vectors (N, D)
            or tokens (N, L, D) of square images, with a class token before
            them or not; of several outputs the last is taken.
        size (sequence[int], optional): Height and width of the images.
            Defaults to None, they are square.

    Returns:
        Tensor: (N, D, H, W). A vector is a map of one pixel; tokens are laid
        out in rows, without the class token.

    Raises:
        ValueError: If it has another form, or is tokens of images that are
            not square.
    """
    if isinstance(feature, (list, tuple)):
        feature = feature[-1]
    if not torch.is_tensor(feature):
        raise ValueError(
            'A feature map is a tensor, but the module returned a '
            f'{type(feature).__name__}: let the recorder listen to another.'
        )
    if feature.ndim == 2:
        return feature[:, :, None, None]
    if feature.ndim == 3:
        if size is not None and size[0] != size[1]:
            raise ValueError(
                'Tokens are laid out as a map for square images alone, but '
                f'got {tuple(feature.shape)} of images of '
                f'{size[0]}x{size[1]} pixels: let the recorder listen to a '
                'module that returns maps, (N, D, H, W), or leave out the '
                'losses that look at it, by None in place of the recorder, '
                'such as model.distiller.student_recorders.feature=None.'
            )
        side = math.isqrt(feature.shape[1])
        tokens = feature[:, feature.shape[1] - side**2 :]
        if feature.shape[1] - side**2 in (0, 1):
            # (N, L, D) to (N, D, L) to (N, D, H, W)
            return tokens.transpose(1, 2).unflatten(2, (side, side))
    if feature.ndim == 4:
        return feature
    raise ValueError(
        'A feature map is (N, D, H, W), (N, D) or (N, L, D) with L tokens of '
        f'a square image, but got {tuple(feature.shape)}: let the recorder '
        'listen to another module.'
    )


@contextmanager
def layer_means(model: nn.Module) -> Iterator[List[Tensor]]:
    """Collect the mean over pixels of what each BN layer is given.

    Yields:
        list[Tensor]: One of (N, C) is added whenever a layer runs; empty it
        before the next pass.
    """
    means: List[Tensor] = []
    with seen_inputs(
        bn_layers(model), lambda _, maps: means.append(_over_pixels(maps))
    ):
        yield means


def pooled_features(
    model: nn.Module, inputs: Tensor, source: Optional[str] = None
) -> Tensor:
    """The pooled feature ``f(x)`` that a classifier decides on.

    Args:
        model (nn.Module): A classifier.
        inputs (Tensor): (N, C, H, W), normalised.
        source (str, optional): Dotted name of the module whose output is
            taken (maps are averaged over their pixels, tokens over their
            number). None takes what mmpretrain calls ``pre_logits``, the
            input of the last linear layer.

    Returns:
        Tensor: (N, D), float32 but for autocast.

    Raises:
        ValueError: If the model has no module of that name, or if ``source``
            is None and the model cannot tell its ``pre_logits``.
    """
    if source is None:
        if not hasattr(model, 'extract_feat'):
            raise ValueError(
                f'{type(model).__name__} has no extract_feat(): name the '
                'module that returns its feature, aux_feature="...". It has: '
                f'{_names(model)}'
            )
        feature = model.extract_feat(inputs, stage='pre_logits')
    else:
        with recorded_outputs(submodule(model, source)) as outputs:
            model(inputs, mode='tensor')
        feature = outputs[-1]
    if isinstance(feature, (list, tuple)):
        feature = feature[-1]
    if not torch.is_tensor(feature):
        raise ValueError(
            f'{source or "extract_feat()"} of {type(model).__name__} should '
            f'return a tensor, but got a {type(feature).__name__}: name '
            'another module as aux_feature.'
        )
    if feature.ndim == 4:
        feature = feature.mean((2, 3))
    elif feature.ndim == 3:
        feature = feature.mean(1)
    # Some networks run in mixed precision by themselves. Where all do, a head
    # takes features as they are.
    is_half = feature.dtype in (torch.float16, torch.bfloat16)
    if is_half and autocast_dtype(feature.device.type) is None:
        return feature.float()
    return feature


def _over_pixels(maps: Tensor) -> Tensor:
    """(N, C, ...) to (N, C)."""
    return maps.flatten(2).mean(2) if maps.ndim > 2 else maps


def submodule(model: nn.Module, name: str) -> nn.Module:
    """The submodule of that dotted name.

    Raises:
        ValueError: If there is none; lists the names there are.
    """
    modules = dict(model.named_modules())
    if name not in modules:
        close = difflib.get_close_matches(name, modules, 3)
        hint = f' Did you mean {" or ".join(close)}?' if close else ''
        raise ValueError(
            f'{type(model).__name__} has no module named '
            f'"{name}".{hint} It has: {_names(model)}'
        )
    return modules[name]


def _names(model: nn.Module) -> str:
    names = [name for name, _ in model.named_modules() if name]
    # Names of few levels first: those are the ones to choose from.
    names = sorted(names, key=lambda name: name.count('.'))
    return some_of(names, 40)

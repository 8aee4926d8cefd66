# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the layers of networks without BN are given, as tokens."""

import math
from contextlib import contextmanager
from typing import Iterator, List

import torch.nn as nn
from torch import Tensor

from .outputs import full_precision

# Layers that normalise each image by itself. RMSNorm is there from torch 2.4.
_KINDS = tuple(
    getattr(nn, name)
    for name in ('LayerNorm', 'GroupNorm', 'RMSNorm')
    if hasattr(nn, name)
)
# Fewer tokens say nothing of how alike those of an image are.
_LEAST = 4


def token_layers(model: nn.Module) -> List[nn.Module]:
    """The layers of a model that normalise each image by itself."""
    return [layer for layer in model.modules() if isinstance(layer, _KINDS)]


def as_tokens(
    layer: nn.Module, given: Tensor, is_square: bool = True
) -> Tensor:
    """The input of a layer as one vector for each place of an image.

    Args:
        layer (nn.Module): Of :func:`token_layers`.
        given (Tensor): Tokens (N, L, D), with a class token (and another of
            distillation) before those of a square image or not; maps
            (N, H, W, D) or (N, D, H, W); or vectors (N, D).
        is_square (bool): Whether the images are. Defaults to True.

    Returns:
        Tensor: (N, L, D), float32, without class tokens. Those of images
        that are not square cannot be told from others, and stay.
    """
    given = full_precision(given)
    if given.ndim == 3 and not isinstance(layer, nn.GroupNorm):
        length = given.shape[1]
        extra = length - math.isqrt(length) ** 2
        return given[:, extra:] if is_square and extra in (1, 2) else given
    if given.ndim < 3:
        return given.unsqueeze(1)
    if _channels_first(layer, given):
        return given.flatten(2).transpose(1, 2)
    return given.flatten(1, -2)


def _channels_first(layer: nn.Module, given: Tensor) -> bool:
    if isinstance(layer, nn.GroupNorm):
        return True
    if tuple(layer.normalized_shape) == tuple(given.shape[1:]):
        return True  # of whole maps
    width = layer.normalized_shape[-1]
    if (given.shape[1] == width) != (given.shape[-1] == width):
        return given.shape[1] == width
    return '2d' in type(layer).__name__.lower()


def _sequence_first(parent: nn.Module, given: Tensor, images: int) -> bool:
    """Whether tokens are (L, N, D), as in ``nn.TransformerEncoderLayer``.

    Args:
        parent (nn.Module): Of the layer that is given them.
        given (Tensor): (N, L, D), (L, N, D), or (N * windows, L, D).
        images (int): N.
    """
    if given.ndim != 3 or given.shape[1] != images:
        return False
    if given.shape[0] % images:
        return True  # neither images nor windows of images
    return any(
        isinstance(module, nn.MultiheadAttention) and not module.batch_first
        for module in parent.children()
    )


@contextmanager
def layer_tokens(model: nn.Module) -> Iterator[List[Tensor]]:
    """Collect what each layer of :func:`token_layers` is given, as tokens.

    Args:
        model (nn.Module): Is given images (N, C, H, W) first.

    Yields:
        list[Tensor]: One of (N, L, D) is added whenever a layer runs on a
        map of enough places; empty it before the next pass.
    """
    found: List[Tensor] = []
    parents = {
        layer: parent
        for parent in model.modules()
        for layer in parent.children()
    }
    images, is_square = 0, True

    def look(model, args, kwargs):
        nonlocal images, is_square
        images, _, height, width = [*args, *kwargs.values()][0].shape
        is_square = height == width

    def hook(layer, args, kwargs):
        given = [*args, *kwargs.values()][0]
        if not isinstance(layer, nn.GroupNorm) and _sequence_first(
            parents.get(layer, layer), given, images
        ):
            given = given.transpose(0, 1)
        tokens = as_tokens(layer, given, is_square)
        if tokens.shape[1] >= _LEAST:
            found.append(tokens)

    handles = [model.register_forward_pre_hook(look, with_kwargs=True)]
    handles += [
        layer.register_forward_pre_hook(hook, with_kwargs=True)
        for layer in token_layers(model)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()

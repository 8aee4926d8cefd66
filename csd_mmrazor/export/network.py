# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A network by itself, without what OpenMMLab puts around it."""

from typing import Sequence

import torch
import torch.nn as nn
from mmpretrain.models import HuggingFaceClassifier, TimmClassifier
from torch import Tensor

from ..models.classifiers import TorchClassifier
from ..models.preprocessors import normalize_images
from ..models.utils import logits_of

# Classes around a network, and what they call it.
_AROUND = (
    (TorchClassifier, 'net'),
    (TimmClassifier, 'model'),
    (HuggingFaceClassifier, 'model'),
)


def own_network(student: nn.Module) -> nn.Module:
    """The network as its own class makes it.

    Args:
        student (nn.Module): As a config builds it.

    Returns:
        nn.Module: What is in a ``TorchClassifier``, or in mmpretrain's
        classes for networks of timm and transformers. Any other is itself.
    """
    for kind, name in _AROUND:
        if isinstance(student, kind):
            return getattr(student, name)
    return student


class Logits(nn.Module):
    """A student that takes images or inputs and returns its logits alone.

    Args:
        student (nn.Module): As a config builds it, with its
            ``data_preprocessor``.
        normalize (bool): Whether it takes images, in [0, 1], and not inputs,
            which are normalised. Defaults to False.
    """

    def __init__(self, student: nn.Module, normalize: bool = False) -> None:
        super().__init__()
        self.student = student
        self.normalize = normalize

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, (N, K), of images, (N, C, H, W)."""
        if self.normalize:
            inputs = normalize_images(inputs, self.student.data_preprocessor)
        return logits_of(self.student(inputs, mode='tensor'))

    def example(self, count: int, image_shape: Sequence[int]) -> Tensor:
        """Random images or inputs, (``count``, C, H, W)."""
        draw = torch.rand if self.normalize else torch.randn
        generator = torch.Generator().manual_seed(count)
        return draw(count, *image_shape, generator=generator)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, where the largest expected number is 1.

    Args:
        found (Tensor): Of any shape.
        expected (Tensor): Of the same shape.

    Returns:
        float: From 0 on; NaN if a number is.
    """
    scale = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return ((found - expected).abs().max() / scale).item()


def check_same(found: Tensor, expected: Tensor, where: str) -> float:
    """Check that a file computes what the student does.

    Args:
        found (Tensor): The file's logits, (N, K).
        expected (Tensor): The student's.
        where (str): The file.

    Returns:
        float: The :func:`relative_error`.

    Raises:
        ValueError: If it is more than rounding.
    """
    if found.shape != expected.shape:
        raise ValueError(
            f'{where} computes logits of shape {tuple(found.shape)}, where '
            f'those of the student are {tuple(expected.shape)}: do not use '
            'it.'
        )
    error = relative_error(found, expected)
    if not error <= 1e-3:  # nor NaN
        raise ValueError(
            f'{where} computes logits that differ from those of the student '
            f'by up to {error:.2g} of the largest: do not use it.'
        )
    return error

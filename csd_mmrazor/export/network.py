# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A network by itself, without what OpenMMLab puts around it."""

import io
import logging
import re
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Iterator, Sequence

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
        generator = torch.Generator().manual_seed(count)
        images = torch.rand(count, *image_shape, generator=generator)
        preprocessor = getattr(self.student, 'data_preprocessor', None)
        if self.normalize or preprocessor is None:
            return images
        # Networks that normalise inside may check that theirs are in 0..1.
        return normalize_images(images, preprocessor)


# What torch says of a network that is traced for one number of images alone.
_CONSTANT = (
    'code specialized it|Constraints violated|'
    'conflicts between user-specified ranges'
)


@contextmanager
def exporting(kind: str) -> Iterator[None]:
    """Call torch's exporters, which say much, and of themselves.

    Args:
        kind (str): What the network becomes.

    Raises:
        ValueError: If they cannot trace the network; says where it stopped.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            # Of a network that they cannot trace, they print each layer.
            said = io.StringIO()
            with redirect_stdout(said), redirect_stderr(said):
                yield
    except (OSError, MemoryError):
        raise  # which the network is not to blame for
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        text = re.sub(r'\x1b\[[\d;]*m', '', str(cause)).strip()
        if re.search(_CONSTANT, text):
            raise ValueError(
                f'torch cannot write the network as {kind}: its forward makes '
                'the number of images a constant. Take x.shape[0] for it, and '
                'neither len(x) nor int(x.shape[0]), and no loop over images.'
            ) from error
        found = re.findall(r'File "[^"]+", line \d+, in \w+\n +(.+)', text)
        place = f", at '{found[-1].strip()}'" if found else ''
        reason = text.split('\n')[0] or type(cause).__name__
        raise ValueError(
            f'torch cannot write the network as {kind}{place}: {reason} '
            'Its forward has to do the same for all images: take torch.where '
            'in place of if, and no values of tensors as numbers of Python.'
        ) from error
    finally:
        logging.disable(disabled)


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

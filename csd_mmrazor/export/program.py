# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A classifier as a program of torch.export."""

import io
from pathlib import Path
from typing import Sequence, Union

import torch
import torch.nn as nn

from ..utils import write_file
from .network import Logits, check_same, exporting


def export_program(
    model: nn.Module,
    image_shape: Sequence[int],
    out: Union[str, Path],
    normalize: bool = False,
) -> float:
    """Write a classifier by ``torch.export``, which runs without its class.

    ``torch.export.load(OUT).module()(inputs)`` returns the logits of any
    number of images. It is compared with the model before it gets its name.

    Args:
        model (nn.Module): In eval mode, on the CPU.
        image_shape (sequence[int]): (C, H, W).
        out (str | Path): Where to, a name with .pt2.
        normalize (bool): As of :func:`export_onnx`. Defaults to False.

    Returns:
        float: As of :func:`export_onnx`.

    Raises:
        ImportError: If torch is too old.
        ValueError: If torch cannot write the model, or the program computes
            something else than it.
    """
    check_program()
    network = Logits(model, normalize)
    batch = torch.export.Dim('batch', max=2**20)
    buffer = io.BytesIO()
    with exporting('a program of torch.export'), torch.no_grad():
        program = torch.export.export(
            network,
            (network.example(2, image_shape),),
            dynamic_shapes=({0: batch},),
        )
        _strip(program.graph_module)
        torch.export.save(program, buffer)
        buffer.seek(0)
        loaded = torch.export.load(buffer).module()
    errors = []
    for count in (1, 3):
        inputs = network.example(count, image_shape)
        with torch.no_grad():
            errors.append(check_same(loaded(inputs), network(inputs), out))
    write_file(out, buffer.getvalue())
    return max(errors)


def _strip(module: nn.Module) -> None:
    """Remove what says where nodes came from: files, with their paths."""
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop('stack_trace', None)


def check_program() -> None:
    """Check that torch can do it.

    Raises:
        ImportError: If not.
    """
    if not hasattr(getattr(torch, 'export', None), 'Dim'):
        raise ImportError(
            'torch.export with batches of any size needs torch 2.2 or later, '
            f'and this is {torch.__version__}.'
        )

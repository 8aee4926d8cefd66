# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A classifier as an ONNX file."""

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Optional, Sequence, Union

import torch
import torch.nn as nn
from torch import Tensor

from ..models.utils import logits_of
from ..utils import write_file


class _Logits(nn.Module):
    """A classifier that returns its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return logits_of(self.model(inputs, mode='tensor'))


def export_onnx(
    model: nn.Module, image_shape: Sequence[int], out: Union[str, Path]
) -> Optional[float]:
    """Write a classifier for ONNX: ``inputs`` to ``logits``.

    ``inputs`` are normalised images, any number of them.

    Args:
        model (nn.Module): In eval mode.
        image_shape (sequence[int]): (C, H, W).
        out (str | Path): Where to.

    Returns:
        float | None: How far the file's logits are from the model's at most,
        on random inputs; None if onnxruntime is not installed.

    Raises:
        ImportError: If torch's exporter lacks a package; says which.
        ValueError: If the file computes something else than the model.
    """
    missing = [n for n in ('onnx', 'onnxscript') if find_spec(n) is None]
    if missing:
        raise ImportError(
            "torch's ONNX exporter needs packages that are not installed: "
            f'pip install {" ".join(missing)}'
        )
    import onnx

    inputs = torch.randn(2, *image_shape)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'student.onnx'))
        torch.onnx.export(
            _Logits(model),
            (inputs,),
            path,
            input_names=['inputs'],
            output_names=['logits'],
            dynamic_axes=dict(inputs={0: 'batch'}, logits={0: 'batch'}),
        )
        # The exporter puts the weights into a second file.
        content = onnx.load(path).SerializeToString()
    write_file(out, content)
    if find_spec('onnxruntime') is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(out), providers=['CPUExecutionProvider']
    )
    largest = 0.0
    for count in (1, 3):
        inputs = torch.randn(count, *image_shape)
        with torch.no_grad():
            expected = logits_of(model(inputs, mode='tensor'))
        (found,) = session.run(None, dict(inputs=inputs.numpy()))
        difference = (torch.from_numpy(found) - expected).abs().max().item()
        largest = max(largest, difference)
        if difference > 1e-3 * expected.abs().max().item():
            raise ValueError(
                f'{out} computes logits that are up to {difference:.2g} away '
                f'from those of the student, which are up to '
                f'{expected.abs().max().item():.2g}: do not use it.'
            )
    return largest

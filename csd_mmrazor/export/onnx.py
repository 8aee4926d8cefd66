# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A classifier as an ONNX file."""

import tempfile
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import torch
import torch.nn as nn

from ..utils import write_file
from .network import Logits, check_same, exporting

# What torch's exporter writes without a conversion. That of torch before 2.5
# knows no later one than 17.
OPSET = 18 if find_spec('torch.onnx._internal.exporter') else 17


def export_onnx(
    model: nn.Module,
    image_shape: Sequence[int],
    out: Union[str, Path],
    normalize: bool = False,
) -> Optional[float]:
    """Write a classifier for ONNX: ``inputs`` to ``logits``.

    The file takes any number of images at a time. It is compared with the
    model by onnxruntime before it gets its name.

    Args:
        model (nn.Module): In eval mode, on the CPU.
        image_shape (sequence[int]): (C, H, W).
        out (str | Path): Where to.
        normalize (bool): Whether the normalisation is in the file: then
            ``inputs`` are images in [0, 1] in the channel order that the
            model was trained with (RGB), and else normalised. Defaults to
            False.

    Returns:
        float | None: How far the file's logits are from the model's at most,
        on random inputs, where the largest logit is 1; None if onnxruntime
        is not installed.

    Raises:
        ImportError: If torch's exporter lacks a package; says which.
        ValueError: If torch cannot write the model, or the file computes
            something else than it.
    """
    check_onnx()
    import onnx

    network = Logits(model, normalize)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = str(Path(folder, 'student.onnx'))
        with exporting('an ONNX file'):
            torch.onnx.export(
                network,
                (network.example(2, image_shape),),
                path,
                input_names=['inputs'],
                output_names=['logits'],
                dynamic_axes=dict(inputs={0: 'batch'}, logits={0: 'batch'}),
                opset_version=OPSET,
                verbose=False,
            )
        # The exporter puts the weights into a second file.
        content = strip_onnx(onnx.load(path)).SerializeToString()
    error = None
    if find_spec('onnxruntime') is not None:
        error = _compare(content, network, image_shape, str(out))
    write_file(out, content)
    return error


def strip_onnx(model: Any) -> Any:
    """Remove what says where nodes came from: files, with their paths.

    Args:
        model (onnx.ModelProto): Is changed.
    """
    model.doc_string = ''
    _strip_graph(model.graph)
    for function in model.functions:
        _strip_all([function, *function.node])
    return model


def _strip_graph(graph: Any) -> None:
    _strip_all([graph, *graph.node, *graph.initializer])
    _strip_all([*graph.value_info, *graph.input, *graph.output])
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _strip_graph(inner)


def _strip_all(entries: Sequence[Any]) -> None:
    for entry in entries:
        entry.doc_string = ''
        if hasattr(entry, 'metadata_props'):  # since onnx 1.16
            del entry.metadata_props[:]


def check_onnx() -> None:
    """Check that what torch's exporter needs is installed.

    Raises:
        ImportError: If a package is missing or cannot be imported; says
            which.
    """
    missing = [n for n in ('onnx', 'onnxscript') if find_spec(n) is None]
    if missing:
        raise ImportError(
            "torch's ONNX exporter needs packages that are not installed: "
            f'pip install {" ".join(missing)}'
        )
    for name in ('onnx', 'onnxscript'):
        try:
            import_module(name)
        except Exception as error:
            raise ImportError(
                f"torch's ONNX exporter needs {name}, which is installed but "
                f'cannot be imported ({type(error).__name__}: {error}). '
                f'Install it again: pip install --force-reinstall {name}'
            ) from error


def _compare(
    content: bytes, network: Logits, image_shape: Sequence[int], out: str
) -> float:
    """The largest error of the file, of one image and of several."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        content, providers=['CPUExecutionProvider']
    )
    errors = []
    for count in (1, 3):
        inputs = network.example(count, image_shape)
        with torch.no_grad():
            expected = network(inputs)
        (found,) = session.run(None, dict(inputs=inputs.numpy()))
        errors.append(check_same(torch.from_numpy(found), expected, out))
    return max(errors)

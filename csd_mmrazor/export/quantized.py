# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A classifier with integers for weights and activations, as an ONNX file."""

import logging
import statistics
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Union,
)

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from ..utils import write_file
from .onnx import check_onnx, export_onnx, strip_onnx

# Bits of the weights by what the command line calls them.
BITS = dict(int8=8, int4=4)
# Left as they are: their gains would get one scale for all, and no kernel has
# them in integers. Batch norms are in the convolution before, where one is.
_NORMS = 'BatchNormalization', 'InstanceNormalization', 'LayerNormalization'
# What is done to scores of attention before their softmax.
_SCORES = (
    *('Add', 'Sub', 'Mul', 'Div', 'Where', 'Cast', 'Expand'),
    *('Reshape', 'Transpose', 'Squeeze', 'Unsqueeze'),
)
# Images of a pass, and passes that are timed.
_BATCH, _PASSES = 64, 30
# What the files say of who wrote them.
_PRODUCER = 'csd_mmrazor quantize'


class Quantized(NamedTuple):
    """What a network became."""

    bits: int  # of a weight; activations have 8
    calibration_images: int
    file_bytes: int  # of the file
    float_bytes: int  # of the file of the network as it was
    # Images, of those that did not calibrate it, for which both decide alike,
    # in %; None if there were none.
    agreement: Optional[float]
    compared_images: int
    # Processor time of one image, where that of the network as it was is 1.
    relative_time: float


def quantize_onnx(
    model: nn.Module,
    inputs: Tensor,
    others: Tensor,
    out: Union[str, Path],
    bits: int = 8,
    float_model: Optional[nn.Module] = None,
) -> Quantized:
    """Write a classifier for ONNX with integers in place of its numbers.

    Weights of convolutions and matrix products get ``bits`` bits and a scale
    for each output channel, activations get 8 bits. Of 8 bits, weights use
    -64 to 64, so that the file computes the same on processors with and
    without VNNI. What activations reach on
    ``inputs`` is their range. No label is needed. Integers are stored as
    such, between ``QuantizeLinear`` and ``DequantizeLinear``. Norm layers
    that are no batch norm after a convolution, other constants that are added
    or multiplied by, except biases of matrix products, and transposed
    convolutions in groups keep their weights. A softmax, and masks that are
    added before it, are computed in floating point.

    Args:
        model (nn.Module): In eval mode, on the CPU.
        inputs (Tensor): What it is calibrated by, (N, C, H, W), normalised.
        others (Tensor): What it is compared by, (M, C, H, W), M from 0 on.
        out (str | Path): Where to, a name with .onnx.
        bits (int): 8 or 4. Defaults to 8.
        float_model (nn.Module, optional): What it is compared with. Defaults
            to None, ``model``.

    Raises:
        ImportError: If what it needs is not installed; says what.
        ValueError: If ``bits`` is another number.
    """
    check_quantization(bits)
    import onnx
    import onnxruntime.quantization as ort

    weights = {8: ort.QuantType.QInt8, 4: getattr(ort.QuantType, 'QInt4', 0)}
    image_shape = inputs.shape[1:]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        paths = [str(Path(folder, f'{n}.onnx')) for n in 'abcd']
        _export(model, image_shape, paths[0])
        original = paths[0]
        if float_model is not None:
            original = paths[3]
            _export(float_model, image_shape, original)
        # Shapes are inferred by onnx alone; batches of any size stop ORT's.
        ort.quant_pre_process(paths[0], paths[1], skip_symbolic_shape=True)
        graph = onnx.load(paths[1]).graph
        ort.quantize_static(
            paths[1],
            paths[2],
            _Batches(inputs),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            weight_type=weights[bits],
            activation_type=ort.QuantType.QUInt8,
            nodes_to_exclude=_kept(graph),
            # Processors without VNNI add two products of 8 bits in 16: with
            # weights beyond 64, the sum overflows and answers are wrong.
            reduce_range=bits == 8,
            # Scales of weights around 0, as of what they are trained with.
            extra_options=dict(
                WeightSymmetric=True, TensorQuantOverrides=_axes(graph)
            ),
        )
        integers = onnx.load(paths[2])
        if bits == 4:
            _keep_biases(integers.graph, graph)
        content, float_content = (
            _marked(each) for each in (integers, onnx.load(original))
        )
    sessions = [_session(each) for each in (content, float_content)]
    found = Quantized(
        bits,
        len(inputs),
        len(content),
        len(float_content),
        _agreement(sessions, others) if len(others) else None,
        len(others),
        _relative_time(sessions, inputs[:1].numpy()),
    )
    write_file(out, content)
    return found


def _kept(graph: Any) -> List[str]:
    """Names of the nodes that keep their weights."""
    held = {each.name: each for each in graph.initializer}
    products = {
        name
        for node in graph.node
        if node.op_type == 'MatMul'
        for name in node.output
    }
    scores = _scores(graph)
    return [
        n.name
        for n in graph.node
        if n.name in scores or _stays(n, held, products)
    ]


def _scores(graph: Any) -> Set[str]:
    """Names of the nodes between products and a softmax, and of it.

    Masks that they add make a range of which scores are one integer: of
    -10,000, or what infinity becomes.
    """
    makers = {name: node for node in graph.node for name in node.output}
    wanted = [node for node in graph.node if node.op_type == 'Softmax']
    found: Set[str] = set()
    while wanted:
        node = wanted.pop()
        found.add(node.name)
        wanted += [
            makers[name]
            for name in node.input
            if name in makers
            and makers[name].op_type in _SCORES
            and makers[name].name not in found
        ]
    return found


def _stays(node: Any, held: Dict[str, Any], products: Set[str]) -> bool:
    if node.op_type == 'ConvTranspose':  # whose bias ORT scales as of one
        return any(a.name == 'group' and a.i > 1 for a in node.attribute)
    if node.op_type == 'Clip':
        return _leaves_out_zero(node, held)
    if node.op_type in ('Add', 'Mul') and not held.keys().isdisjoint(
        node.input
    ):
        # What norms, position embeddings and the like come to. A bias costs
        # nothing in integers, and kernels are slower without.
        return node.op_type == 'Mul' or products.isdisjoint(node.input)
    return node.op_type in _NORMS


def _leaves_out_zero(node: Any, held: Dict[str, Any]) -> bool:
    """Whether 0 is outside the bounds of a Clip, as far as these are known.

    ONNX Runtime removes those that it quantizes, in favour of the range of
    integers, in which 0 always is.
    """
    from onnx import numpy_helper

    bounds = [*node.input[1:], '', ''][:2]
    if not all(name in held for name in bounds if name):
        return True
    low, high = (
        float(numpy_helper.to_array(held[name])) if name else 0.0
        for name in bounds
    )
    return low > 0 or high < 0


def _keep_biases(integers: Any, graph: Any) -> None:
    """Give biases that do not fit into their integers another scale.

    That of a bias is the product of those of inputs and weights. Where weights
    of a channel are tiny, 32 bits clip the bias, which is all that the channel
    has. ONNX Runtime raises the scale of the weights then, if they have 8
    bits.

    Args:
        integers (onnx.GraphProto): The quantized network; changed in place.
        graph (onnx.GraphProto): The network before.
    """
    from onnx import numpy_helper

    before = {each.name: each for each in graph.initializer}
    held = {each.name: each for each in integers.initializer}
    most = np.iinfo(np.int32).max
    for name, tensor in held.items():
        bias = before.get(name[: -len('_quantized')])
        scale = held.get(f'{name}_scale')
        if bias is None or scale is None or tensor.data_type != tensor.INT32:
            continue
        values = numpy_helper.to_array(bias).astype(np.float64)
        least = np.abs(values) / most
        old = numpy_helper.to_array(scale)
        if old.size == 1:
            least = least.max(keepdims=True)
        if (old >= least).all():
            continue
        # Rounded to 32 bits, it may be a little below.
        new = np.maximum(old, 1.0001 * least).astype(old.dtype)
        rounded = (values / new).round().astype(np.int32)
        scale.CopyFrom(numpy_helper.from_array(new, scale.name))
        tensor.CopyFrom(numpy_helper.from_array(rounded, name))


def _axes(graph: Any) -> Dict[str, List[Dict[str, int]]]:
    """Axes of output channels where ONNX Runtime would take another.

    It takes the second one of all factors of matrix products. That of a left
    factor is the last but one, and that of a right one the last.
    """
    ranks = {each.name: len(each.dims) for each in graph.initializer}
    return {
        name: [dict(axis=ranks[name] - from_end)]
        for node in graph.node
        if node.op_type == 'MatMul'
        for name, from_end in zip(node.input, (2, 1))
        if ranks.get(name, 0) > 1
    }


def _export(model: nn.Module, image_shape: Sequence[int], path: str) -> None:
    """As :func:`export_onnx`, to a file that nobody knows of."""
    try:
        export_onnx(model, image_shape, path)
    except ValueError as error:
        message = str(error).replace(path, 'The network as an ONNX file')
        raise ValueError(message) from None


def check_exportable(model: nn.Module, image_shape: Sequence[int]) -> None:
    """Check that a network can be written as an ONNX file.

    Args:
        model (nn.Module): In eval mode, on the CPU.
        image_shape (sequence[int]): (C, H, W).

    Raises:
        ValueError: If not; says where torch stopped.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        _export(model, image_shape, str(Path(folder, 'a.onnx')))


def check_quantization(bits: int) -> None:
    """Check that what quantization needs is installed.

    Raises:
        ImportError: If not; says what to install.
        ValueError: If weights cannot have so many bits.
    """
    if bits not in BITS.values():
        raise ValueError(
            'Weights have 8 bits (int8) or 4 (int4) in the file, but got '
            f'bits={bits!r}.'
        )
    check_onnx()
    if find_spec('onnxruntime') is None:
        raise ImportError(
            'Quantization needs ONNX Runtime: pip install onnxruntime'
        )
    from onnxruntime.quantization import QuantType

    if bits == 4 and not hasattr(QuantType, 'QInt4'):
        raise ImportError(
            'int4 needs a later onnxruntime: pip install -U onnxruntime'
        )


def is_quantized(path: Union[str, Path]) -> bool:
    """Whether :func:`quantize_onnx` wrote a file."""
    import onnx

    try:
        return bool(onnx.load(path).producer_name == _PRODUCER)
    except Exception:  # whatever its bytes make of the parser
        return False


def decisions(path: Union[str, Path]) -> Callable[[Tensor], Tensor]:
    """What an ONNX file decides on.

    Args:
        path (str | Path): The file.

    Returns:
        callable: Takes inputs, (N, C, H, W), normalised, and returns classes,
        (N, ), int64.
    """
    session = _session(Path(path).read_bytes())
    return lambda inputs: _decisions(session, inputs)


class _Batches:
    """Inputs as ONNX Runtime asks for them."""

    def __init__(self, inputs: Tensor) -> None:
        self._parts = iter(inputs.split(_BATCH))

    def get_next(self) -> Optional[dict]:
        part = next(self._parts, None)
        return None if part is None else dict(inputs=part.numpy())

    def __iter__(self) -> Iterator[dict]:
        return iter(self.get_next, None)

    def __len__(self) -> int:
        return 0

    def set_range(self, start_index: int, end_index: int) -> None:
        raise NotImplementedError


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        content, options, providers=['CPUExecutionProvider']
    )


def _decisions(session: Any, inputs: Tensor) -> Tensor:
    logits = [
        session.run(None, dict(inputs=part.numpy()))[0]
        for part in inputs.split(_BATCH)
    ]
    return torch.from_numpy(np.concatenate(logits)).argmax(1)


def _agreement(sessions: Sequence[Any], inputs: Tensor) -> float:
    found, expected = (_decisions(each, inputs) for each in sessions)
    return 100 * (found == expected).double().mean().item()


def _relative_time(sessions: Sequence[Any], image: np.ndarray) -> float:
    """Median over passes in turns, of the first over the second.

    It is of the processor's time: what else runs on it does not count.
    """
    times: Sequence[List[float]] = ([], [])
    for _ in range(_PASSES):
        for session, found in zip(sessions, times):
            start = time.thread_time()
            session.run(None, dict(inputs=image))
            found.append(time.thread_time() - start)
    first, second = map(statistics.median, times)
    return first / second


def _marked(model: Any) -> bytes:
    """An ONNX file that says who wrote it."""
    strip_onnx(model)
    model.producer_name, model.producer_version = _PRODUCER, ''
    content: bytes = model.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back advice on steps that are done here."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)

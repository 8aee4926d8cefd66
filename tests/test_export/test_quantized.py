# Copyright (c) csd_mmrazor developers. All rights reserved.
import operator
import sys

import numpy as np
import pytest
import torch
import torch.nn as nn
from helpers import build, network

from csd_mmrazor.export import decisions, quantize_onnx
from csd_mmrazor.export.calibration import balanced_order, stratified_order
from csd_mmrazor.export.rounding import Rounded, rounded

pytest.importorskip('onnxruntime')
# A process that has ONNX Runtime and nothing of ours.
ALONE = """
import sys, numpy as np, onnxruntime
sys.modules['csd_mmrazor'] = sys.modules['torch'] = None
session = onnxruntime.InferenceSession('q.onnx')
inputs = np.load('inputs.npy')
for part in (inputs[:1], inputs):  # batches of any size
    (logits,) = session.run(None, dict(inputs=part))
np.save('logits.npy', logits)
"""


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    model = build(network(base_channels=8))
    model.init_weights()
    model.train()
    for _ in range(3):
        model(torch.randn(32, 1, 8, 8), mode='tensor')
    return model.eval()


@pytest.mark.parametrize('bits', [8, 4])
def test_a_file_of_integers(bits, model, tmp_path, run):
    onnx = pytest.importorskip('onnx')
    inputs = torch.randn(96, 1, 8, 8)
    out = tmp_path / 'q.onnx'
    found = quantize_onnx(model, inputs[:64], inputs[64:], out, bits)
    assert found.file_bytes == out.stat().st_size < found.float_bytes
    assert found.calibration_images == 64 and found.compared_images == 32
    np.save(tmp_path / 'inputs.npy', inputs.numpy())
    run(sys.executable, '-c', ALONE)
    logits = torch.from_numpy(np.load(tmp_path / 'logits.npy'))
    with torch.no_grad():
        expected = model(inputs, mode='tensor')
    error = (logits - expected).norm() / expected.norm()
    assert error < {8: 0.1, 4: 0.5}[bits]
    assert torch.equal(decisions(out)(inputs), logits.argmax(1))
    same = (logits.argmax(1) == expected.argmax(1))[64:].float().mean().item()
    assert found.agreement == pytest.approx(100 * same)
    # Integers of that many bits are in the file, and no float copy of them.
    kinds = {8: onnx.TensorProto.INT8, 4: onnx.TensorProto.INT4}
    tensors = onnx.load(out).graph.initializer
    number = sum(w.numel() for w in model.parameters() if w.ndim > 1)
    integers = [t for t in tensors if t.data_type == kinds[bits] and t.dims]
    held = [t for t in integers if len(t.dims) > 1]
    assert sum(int(np.prod(t.dims)) for t in held) == number
    floats = [t for t in tensors if t.data_type == onnx.TensorProto.FLOAT]
    assert all(len(t.dims) < 2 for t in floats)


class Plain(nn.Linear):
    """A classifier of one layer."""

    def forward(self, inputs, mode='tensor'):
        return super().forward(inputs.flatten(1))


class Attending(nn.Module):
    """Transposed convolutions and attention."""

    def __init__(self):
        super().__init__()
        self.maps = nn.ConvTranspose2d(1, 8, 2, stride=2)
        self.more = nn.ConvTranspose2d(8, 12, 2, stride=2)
        self.grouped = nn.ConvTranspose2d(12, 12, 1, groups=3)
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.fc = nn.Linear(12, 3)

    def forward(self, inputs, mode='tensor'):
        maps = self.more(self.maps(inputs).relu())
        tokens = self.grouped(maps.relu()).flatten(2).mT
        return self.fc(self.attention(tokens, tokens, tokens)[0].amax(1))


def weights_of(path):
    """Integers of several axes in a file, and what they stand for."""
    onnx = pytest.importorskip('onnx')
    graph = onnx.load(path).graph
    held = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    found = []
    for node in graph.node:
        own = [held.get(name) for name in node.input]
        if node.op_type == 'DequantizeLinear' and np.ndim(own[0]) > 1:
            integers, scale = own[0].astype(np.float32), own[1]
            (axis,) = (a.i for a in node.attribute if a.name == 'axis')
            shape = [1] * integers.ndim
            shape[axis] = -1
            found.append((integers, integers * scale.reshape(shape)))
    return found


@pytest.mark.parametrize('bits', [8, 4])
@pytest.mark.parametrize(
    'model', [Plain(16, 5).eval(), Attending().eval()], ids=['plain', 'other']
)
def test_the_file_rounds_as_distillation_does(model, bits, tmp_path):
    out = tmp_path / 'q.onnx'
    inputs = torch.randn(20, 1, 4, 4)
    quantize_onnx(model, inputs, inputs[:0], out, bits)
    found = weights_of(out)
    with rounded(model, bits) as names:
        expected = [operator.attrgetter(n)(model).detach() for n in names]
    assert len(found) == len(expected)
    for integers, values in found:
        # Two products with activations of 8 bits have a sum of 16: without
        # VNNI, processors add them so.
        assert 2 * 255 * np.abs(integers).max() < 2**15
        values = torch.from_numpy(values)
        assert any(
            same.shape == weight.shape and torch.allclose(same, weight)
            for same in (values, values.T if values.ndim == 2 else values)
            for weight in expected
        )


class Products(nn.Module):
    """Weights of matrix products on either side, and of several heads."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(6, 4))
        self.heads = nn.Parameter(torch.randn(2, 6, 5))

    def forward(self, inputs, mode='tensor'):
        tokens = (self.mix @ inputs[:, 0]).mT[:, None]
        return (tokens @ self.heads).amax((1, 2))


@pytest.mark.parametrize('bits', [8, 4])
def test_output_channels_of_products_have_scales_of_their_own(bits, tmp_path):
    model, out = Products().eval(), tmp_path / 'q.onnx'
    inputs = torch.randn(20, 1, 4, 4)
    quantize_onnx(model, inputs, inputs[:0], out, bits)
    found = {each.shape: torch.from_numpy(each) for _, each in weights_of(out)}
    for weight, axis in ((model.mix, 0), (model.heads, 2)):
        expected = Rounded(bits, axis)(weight.detach())
        torch.testing.assert_close(found[weight.shape], expected)


class RMSNorm(nn.Module):
    """As torch's, which earlier releases lack."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))

    def forward(self, inputs):
        size = inputs.square().mean(-1, keepdim=True)
        return self.weight * inputs / (size + 1e-6).sqrt()


class Normed(nn.Module):
    """Norm layers that are in no convolution, with gains of all sizes."""

    def __init__(self):
        super().__init__()
        norms = nn.BatchNorm2d(8), nn.InstanceNorm2d(8, affine=True)
        groups = nn.GroupNorm(4, 8)
        self.maps = nn.Sequential(
            *(nn.Conv2d(1, 8, 3), nn.ReLU(), norms[0], nn.ReLU(), norms[1]),
            *(nn.ReLU(), groups),
        )
        self.tokens = nn.LayerNorm(8)
        self.others = RMSNorm()
        self.fc = nn.Linear(8, 5)
        self.norms = [*norms, groups, self.tokens, self.others]
        self.places = nn.Parameter(torch.randn(16, 8))
        for norm in self.norms:
            norm.weight.data.normal_().exp_()

    def forward(self, inputs, mode='tensor'):
        maps = self.maps(inputs).relu()
        tokens = self.tokens(maps.flatten(2).mT + self.places)
        return self.fc(self.others(tokens)).amax(1)


@pytest.mark.parametrize('bits', [8, 4])
def test_norm_layers_keep_their_weights(bits, tmp_path):
    onnx = pytest.importorskip('onnx')
    model = Normed().eval()
    inputs = torch.randn(20, 1, 6, 6)
    out = tmp_path / 'q.onnx'
    quantize_onnx(model, inputs, inputs[:0], out, bits)
    graph = onnx.load(out).graph
    held = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    # Not as integers, and what these stand for.
    for weight in (model.places, *(norm.weight for norm in model.norms)):
        expected = weight.detach().flatten().numpy()
        assert any(np.array_equal(t.flat, expected) for t in held.values())


class Dead(nn.Module):
    """Channels of tiny weights, as pruning and BN leave, with biases."""

    def __init__(self, gain):
        super().__init__()
        self.maps = nn.Conv2d(1, 16, 3, padding=1)
        self.more = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, 5)
        with torch.no_grad():
            for layer in (self.more, self.fc):
                layer.weight[:4] *= gain
                layer.bias[:4] = torch.tensor([0.5, -0.5, 3, 0.2])

    def forward(self, inputs, mode='tensor'):
        maps = self.maps(inputs).relu()
        return self.fc(self.more(maps).relu().mean((2, 3)))


@pytest.mark.parametrize('gain', [1e-6, 1e-9, 1e-20, 0])
@pytest.mark.parametrize('bits', [8, 4])
def test_channels_keep_their_biases(bits, gain, tmp_path):
    ort = pytest.importorskip('onnxruntime')
    torch.manual_seed(0)
    model, out = Dead(gain).eval(), tmp_path / 'q.onnx'
    inputs = torch.randn(50, 1, 8, 8)
    quantize_onnx(model, inputs, inputs[:0], out, bits)
    session = ort.InferenceSession(out)
    (logits,) = session.run(None, dict(inputs=inputs.numpy()))
    with torch.no_grad():
        expected = model(inputs)
    error = (torch.from_numpy(logits) - expected).norm() / expected.norm()
    assert error < {8: 0.02, 4: 0.1}[bits]


class Clipped(nn.Module):
    """One layer, clipped."""

    def __init__(self, low, high):
        super().__init__()
        self.maps = nn.Conv2d(1, 8, 3)
        self.low, self.high = low, high

    def forward(self, inputs, mode='tensor'):
        return self.maps(inputs).clamp(self.low, self.high).mean((2, 3))


@pytest.mark.parametrize(
    'low, high, stays',
    [
        (0.2, 1.0, True),
        (0.2, None, True),
        (-1.0, -0.1, True),
        (None, -0.1, True),
        (0.0, 6.0, False),
        (-1.0, 1.0, False),
    ],
)
def test_bounds_that_leave_out_zero(low, high, stays, tmp_path):
    """ONNX Runtime leaves them to the range of integers, which has 0."""
    onnx = pytest.importorskip('onnx')
    ort = pytest.importorskip('onnxruntime')
    torch.manual_seed(0)
    model, out = Clipped(low, high).eval(), tmp_path / 'q.onnx'
    inputs = torch.randn(50, 1, 8, 8)
    quantize_onnx(model, inputs, inputs[:0], out)
    nodes = [node.op_type for node in onnx.load(out).graph.node]
    assert ('Clip' in nodes) == stays
    session = ort.InferenceSession(out)
    (logits,) = session.run(None, dict(inputs=inputs.numpy()))
    with torch.no_grad():
        expected = model(inputs)
    error = (torch.from_numpy(logits) - expected).norm() / expected.norm()
    assert error < 0.05


class Masked(nn.Module):
    """Attention in two windows, by a mask that is added or filled in."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.qkv = nn.Linear(4, 48)
        self.fc = nn.Linear(16, 5)
        window = torch.arange(16) // 8
        apart = window[:, None] != window
        self.register_buffer('apart', apart)
        mask = {'inf': -np.inf, 'large': -1e4, 'heads': -1e4}.get(way, 0)
        self.register_buffer('mask', torch.zeros(16, 16))
        self.mask[apart] = mask

    def forward(self, inputs, mode='tensor'):
        q, k, v = self.qkv(inputs.flatten(1).unflatten(1, (16, 4))).chunk(3, 2)
        scores = q @ k.mT
        if self.way == 'filled':
            scores = scores.masked_fill(self.apart, -np.inf)
        elif self.way == 'heads':
            heads = scores.unflatten(1, (1, 16)) / 2 + self.mask
            scores = (heads + self.mask / 1e4).flatten(1, 2)
        elif self.way == 'of inputs':
            seen = inputs.flatten(1).mean(1)[:, None, None]
            scores = scores - 1e4 * (self.apart & (seen < 9)).float()
        else:
            scores = scores + self.mask
        return self.fc((scores.softmax(2) @ v).amax(1))


@pytest.mark.parametrize(
    'way', ['inf', 'large', 'filled', 'heads', 'of inputs']
)
def test_masks_of_attention_leave_its_scores_alone(way, tmp_path):
    torch.manual_seed(0)
    model = Masked(way).eval()
    inputs = 2 * torch.randn(200, 1, 8, 8)
    out = tmp_path / 'q.onnx'
    found = quantize_onnx(model, inputs[:100], inputs[100:], out)
    assert found.agreement > 90


def test_without_images_to_compare_by_nothing_is_claimed(model, tmp_path):
    inputs = torch.randn(8, 1, 8, 8)
    found = quantize_onnx(model, inputs, inputs[:0], tmp_path / 'q.onnx')
    assert found.agreement is None and found.compared_images == 0


def test_other_numbers_of_bits_are_refused(model, tmp_path):
    inputs = torch.randn(8, 1, 8, 8)
    with pytest.raises(ValueError, match='bits=3'):
        quantize_onnx(model, inputs, inputs, tmp_path / 'q.onnx', 3)
    assert not [*tmp_path.iterdir()]


def test_each_class_comes_as_often_as_it_can():
    labels = np.array([0] * 50 + [1] * 3 + [2] * 10)
    order = balanced_order(labels, 0)
    assert sorted(order) == [*range(63)]
    assert sorted(labels[order[:9]]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert set(labels[order[9:23]]) == {0, 2}
    assert not np.array_equal(order, balanced_order(labels, 1))
    assert np.array_equal(order, balanced_order(labels, 0))


def test_a_sample_has_the_shares_of_the_classes():
    labels = np.array([0] * 500 + [1] * 100 + [2] * 2 + [3])
    order = stratified_order(labels, 0)
    assert sorted(order) == [*range(603)]
    for number in (3, 60, 120, 300):
        counts = np.bincount(labels[order[:number]], minlength=4)
        assert counts[2] >= 1 and counts[3] == 0
        assert abs(counts[1] / number - 100 / 603) <= 1 / number
    assert not np.array_equal(order, stratified_order(labels, 1))
    assert np.array_equal(order, stratified_order(labels, 0))


def test_a_network_whose_file_differs_is_not_called_by_a_passing_name(
    model, tmp_path, monkeypatch
):
    def export(model, image_shape, path):
        raise ValueError(f'{path} computes logits that differ')

    monkeypatch.setattr('csd_mmrazor.export.quantized.export_onnx', export)
    inputs = torch.randn(8, 1, 8, 8)
    with pytest.raises(ValueError, match='^The network as an ONNX file comp'):
        quantize_onnx(model, inputs, inputs, tmp_path / 'q.onnx')

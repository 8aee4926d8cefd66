# Copyright (c) csd_mmrazor developers. All rights reserved.
import logging
import sys

import pytest
import torch
from helpers import build, network

from csd_mmrazor.export import (
    check_exportable,
    export_onnx,
    export_program,
)


@pytest.fixture
def student():
    return build(network(channels=3)).eval()


class TwoHeads(torch.nn.Linear):
    """A student that returns more than its logits."""

    def forward(self, inputs, mode='tensor'):
        logits = super().forward(inputs.flatten(1))
        return dict(aux=logits - 1, logits=logits)


def test_onnx_of_a_student_with_two_heads(tmp_path):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxscript')
    export_onnx(TwoHeads(16, 3), (1, 4, 4), tmp_path / 'student.onnx')
    graph = onnx.load(tmp_path / 'student.onnx').graph
    assert [output.name for output in graph.output] == ['logits']


def test_onnx_that_is_not_the_student_is_told(tmp_path, student, monkeypatch):
    pytest.importorskip('onnxruntime')
    from onnxruntime import InferenceSession

    run = InferenceSession.run
    monkeypatch.setattr(
        InferenceSession, 'run', lambda *args: [run(*args)[0] + 1]
    )
    with pytest.raises(ValueError, match='do not use it'):
        export_onnx(student, (3, 32, 32), tmp_path / 'student.onnx')


def test_onnx_without_its_packages(tmp_path, student, monkeypatch):
    monkeypatch.setattr('csd_mmrazor.export.onnx.find_spec', lambda name: None)
    with pytest.raises(ImportError, match='pip install onnx onnxscript'):
        export_onnx(student, (3, 32, 32), tmp_path / 'student.onnx')


def test_onnx_with_a_package_that_cannot_be_imported(
    tmp_path, student, monkeypatch
):
    (tmp_path / 'onnxscript.py').write_text('raise OSError("damaged")')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'onnxscript', raising=False)
    with pytest.raises(ImportError, match='onnxscript, .*OSError: damaged'):
        export_onnx(student, (3, 32, 32), tmp_path / 'student.onnx')


class Branches(torch.nn.Linear):
    """A network whose operations depend on the images."""

    def forward(self, inputs, mode='tensor'):
        logits = super().forward(inputs.flatten(1))
        return logits * 2 if logits.sum() > 0 else logits


class Numbers(torch.nn.TransformerEncoderLayer):
    """A transformer with the number of images as one of Python."""

    def __init__(self, count):
        super().__init__(4, 2, 8, batch_first=True)
        self.count = count

    def forward(self, inputs, mode='tensor'):
        return super().forward(inputs[:, 0]).view(self.count(inputs), -1)


WRITE = [
    (export_onnx, 'an ONNX file'),
    (lambda *args: check_exportable(*args[:2]), 'an ONNX file'),
    (export_program, 'a program of torch.export'),
]


@pytest.mark.parametrize(('write', 'kind'), WRITE)
@pytest.mark.parametrize('count', [len, lambda x: int(x.shape[0])])
def test_a_constant_number_of_images(tmp_path, write, kind, count):
    """That of a stranger, who repeats a class token len(x) times."""
    pytest.importorskip('onnxruntime')
    said = rf'as {kind}: its forward .*x\.shape\[0\] for it, and neither len'
    with pytest.raises(ValueError, match=said):
        write(Numbers(count).eval(), (1, 4, 4), tmp_path / 'student')
    assert not [*tmp_path.iterdir()]
    write(
        Numbers(lambda x: x.shape[0]).eval(), (1, 4, 4), tmp_path / 'student'
    )


@pytest.mark.parametrize(('write', 'kind'), WRITE)
def test_what_cannot_be_traced_is_told(tmp_path, write, kind, caplog, capsys):
    pytest.importorskip('onnxruntime')
    disabled = logging.root.manager.disable
    with pytest.raises(ValueError, match=f'as {kind}.*torch.where') as info:
        write(Branches(16, 3), (1, 4, 4), tmp_path / 'student')
    text = str(info.value)
    assert '\n' not in text and '\x1b' not in text and 'issue' not in text
    assert 'return logits * 2 if logits.sum() > 0 else logits' in text
    assert not [*tmp_path.iterdir()] and not caplog.text
    assert capsys.readouterr() == ('', '')
    assert logging.root.manager.disable == disabled

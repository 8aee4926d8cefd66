# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
from card_helpers import HELD_OUT, logged
from helpers import front_of, network
from mmengine.config import Config

from csd_mmrazor.export.card import quality_of, quantized_card


@pytest.mark.parametrize('agreement', [None, 98.7, 89.9])
@pytest.mark.parametrize('source', ['noise', 'pictures', 'bank'])
def test_quantized_without_a_test(tmp_path, monkeypatch, agreement, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'bank').mkdir()
    (tmp_path / 'bank/manifest.json').write_text('{}')
    told = dict(
        calibrated_on=source,
        bits=8,
        file_bytes=325208,
        float_bytes=1091000,
        calibration_images=10,
        distil_steps=0,
        agreement=agreement,
        compared_images=50,
    )
    model = dict(
        architecture=network(), teachers=dict(a=dict(build_cfg=network()))
    )
    cfg = Config(dict(model=model))
    before = quality_of(cfg, logged(tmp_path, **HELD_OUT), dict(epoch=2))
    out = tmp_path / 'a.onnx'
    text = quantized_card(cfg, out, told, 'student', before=before)
    (tmp_path / 'a.md').write_text(text)
    front, body = front_of(tmp_path / 'a.md')
    (index,) = front['model-index']
    assert len(index['results']) == (agreement is not None)
    assert ('data-free' in front['tags']) == (source != 'pictures')
    assert (f'{agreement} % of 50 other' in body) == (agreement is not None)
    assert ('That is little' in body) == (agreement == 89.9)
    assert '325 kB instead of 1091 kB' in body
    assert 'Before quantization: not measured. It gives the same' in body
    assert 'Estimated accuracy' in body


@pytest.mark.parametrize('origin', ['teachers.a', 'some/file.pth'])
def test_what_is_not_said_of_a_teacher(origin, tmp_path):
    told = dict(
        calibrated_on=str(tmp_path),
        bits=8,
        file_bytes=1,
        float_bytes=1,
        calibration_images=10,
        calibration_real=10,
        distil_steps=0,
        agreement=None,
    )
    model = dict(
        architecture=network(), teachers=dict(a=dict(build_cfg=network()))
    )
    text = quantized_card(
        Config(dict(model=model)), tmp_path / 'a.onnx', told, origin
    )
    is_teacher = origin == 'teachers.a'
    assert ('trained on them' in text) != is_teacher
    assert ('what the network learnt about its' in text) == is_teacher
    assert (
        'Real images: in training, not known here; in quantization, pictures '
        f'in `{tmp_path.name}`\n'
    ) in text
    assert 'activations were measured on real pictures' in text

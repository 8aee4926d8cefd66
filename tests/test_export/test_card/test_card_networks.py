# Copyright (c) csd_mmrazor developers. All rights reserved.
import json

import pytest
from helpers import network
from mmengine.config import Config

from csd_mmrazor.export.card import model_card


@pytest.mark.parametrize(
    'start, told, weights',
    [
        (dict(weights='random weights'), 'random weights\n', 'teacher.pth'),
        (
            dict(weights='the weights in `s.pt`', teacher='t.pt'),
            's.pt`',
            't.pt',
        ),
        (dict(weights=''), None, 'teacher.pth'),
        ({}, None, 'teacher.pth'),
        (3, None, 'teacher.pth'),
        (None, None, 'teacher.pth'),  # moved, or no record
    ],
)
def test_a_copy_of_weights_is_not_where_they_are_from(
    start, told, weights, tmp_path
):
    if start is not None:
        (tmp_path / 'distill.json').write_text(json.dumps(dict(start=start)))
    teacher = dict(
        build_cfg=network(), ckpt_path=str(tmp_path / 'networks/teacher.pth')
    )
    model = dict(
        architecture=network(),
        teachers=dict(a=teacher),
        student_ckpt=str(tmp_path / 'networks/student.pth'),
    )
    text = model_card(Config(dict(model=model)), tmp_path / 'a.pth', {})
    assert ('student started from' in text) == bool(told)
    assert not told or told in text
    assert f'weights `{weights}`' in text and '`student.pth`' not in text


@pytest.mark.parametrize(
    'build_cfg, told',
    [
        (dict(factory='/home/me/net.py:Net'), 'Teacher: Net,'),
        (dict(cfg_path='/home/me/net.py'), 'Teacher: net.py,'),
        (dict(cfg_path='mmpretrain::resnet/a.py'), '`mmpretrain'),
    ],
)
def test_networks_are_named_without_their_paths(build_cfg, told, tmp_path):
    model = dict(
        architecture=network(), teachers=dict(a=dict(build_cfg=build_cfg))
    )
    text = model_card(Config(dict(model=model)), tmp_path / 'a.pth', {})
    assert told.strip('`') in text and '/home' not in text

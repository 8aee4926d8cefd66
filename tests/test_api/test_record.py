# Copyright (c) csd_mmrazor developers. All rights reserved.
import json

from csd_mmrazor.api.record import (
    RECORD,
    _difference,
    config_text,
    write_record,
)
from csd_mmrazor.cli.distill import as_options
from csd_mmrazor.utils.plain_config import parse_config


def test_layers_of_networks_keep_their_order():
    """That of other settings is one, whatever that of the arguments."""
    layers = {'2': 'conv', '10': 'relu', 'a': dict(z=1, b=2)}
    network = dict(type='TorchClassifier', steps=layers, a=1)
    teacher = dict(build_cfg=network, ckpt_path='t.pth')
    model = dict(teachers=dict(teacher=teacher), architecture=network)
    found = parse_config(config_text(dict(model=model), {}))['model']
    assert list(found) == ['architecture', 'teachers']
    for each in (
        found['architecture'],
        found['teachers']['teacher']['build_cfg'],
    ):
        assert list(each) == ['type', 'steps', 'a']
        assert list(each['steps']) == list(layers)
        assert list(each['steps']['a']) == ['z', 'b']


def test_a_record_has_no_control_characters(tmp_path):
    """Which a later call would take for damage."""
    write_record(tmp_path, dict(warnings=['\x1b[31mred\x1b[0m\r'], plan={}))
    told = json.loads((tmp_path / RECORD).read_text())
    assert told['warnings'] == ['red']


def test_other_arguments_are_told_as_people_write_them():
    """Those of the command, too."""
    here = dict(padding=1, flip_prob=0)
    told = _difference('augment', None, here, None, None)
    assert told == (
        'augment=None there, augment=dict(padding=1, flip_prob=0) here'
    )
    assert as_options(told) == (
        '--no-augment there, --augment padding=1 flip_prob=0 here'
    )

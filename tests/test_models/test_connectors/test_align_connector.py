# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn as nn
from helpers import build, network

from csd_mmrazor.models import AlignConnector
from csd_mmrazor.models.connectors import infer_connectors


def test_layers():
    connector = build(dict(type='AlignConnector', in_channel=3, out_channel=5))
    kinds = [type(layer).__name__ for layer in connector.layers]
    conv, rest = 'Conv2d', ['BatchNorm2d', 'ReLU']
    assert kinds == [conv, *rest, conv, *rest, conv]
    shapes = [p.shape for p in connector.parameters() if p.ndim == 4]
    assert shapes == [(10, 3, 1, 1), (10, 10, 3, 3), (5, 10, 1, 1)]
    assert not any(
        name.endswith('bias') and param.ndim == 1 and len(param) == 5
        for name, param in connector.named_parameters()
    )
    assert connector(torch.randn(2, 3, 4, 4)).shape == (2, 5, 4, 4)


def test_pools_to_the_teachers_size():
    connector = AlignConnector(3, 5, out_size=2)
    maps = torch.randn(2, 3, 4, 4)
    pooled = maps.view(2, 3, 2, 2, 2, 2).mean((3, 5))
    connector.eval()
    torch.testing.assert_close(connector(maps), connector.layers(pooled))
    assert connector(maps).shape == (2, 5, 2, 2)


@pytest.mark.parametrize(
    'out_channel, mid_channel, expected',
    [
        (5, None, 10),
        (512, None, 1024),
        (2048, None, 1024),
        (2048, 64, 64),
        (5, 70, 70),
    ],
)
def test_the_bottleneck(out_channel, mid_channel, expected):
    with torch.device('meta'):
        connector = AlignConnector(3, out_channel, mid_channel=mid_channel)
    assert [p.shape for p in connector.parameters() if p.ndim == 4] == [
        (expected, 3, 1, 1),
        (expected, expected, 3, 3),
        (out_channel, expected, 1, 1),
    ]
    weights = sum(p.numel() for p in connector.parameters())
    assert weights < 13e6


def test_a_bottleneck_of_nothing_is_refused():
    with pytest.raises(ValueError, match='mid_channel of Align.* got 0'):
        AlignConnector(3, 5, mid_channel=0)


def test_maps_that_are_not_square():
    connector = AlignConnector(3, 5, out_size=(2, 4)).eval()
    maps = torch.randn(2, 3, 4, 8)
    pooled = maps.view(2, 3, 2, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(connector(maps), connector.layers(pooled))
    # Of the same width alone.
    assert connector(torch.randn(2, 3, 8, 4)).shape == (2, 5, 2, 4)


def config(**connector):
    return dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            f=dict(type='ModuleOutputs', source='backbone')
        ),
        teacher_recorders=dict(
            f=dict(type='ModuleOutputs', source='t.backbone')
        ),
        connectors=dict(align=dict(type='AlignConnector', **connector)),
        distill_losses=dict(loss=dict(type='L2Loss')),
        loss_forward_mappings=dict(
            loss=dict(
                s_feature=dict(
                    from_student=True,
                    recorder='f',
                    data_idx=-1,
                    connector='align',
                ),
                t_feature=dict(from_student=False, recorder='f', data_idx=-1),
            )
        ),
    )


def test_channels_are_read_off_the_networks(scope):
    student = build(network(base_channels=4))
    teachers = nn.ModuleDict(
        dict(t=build(network(base_channels=6, strides=(2, 2))))
    )
    inputs = torch.zeros(2, 1, 8, 8)
    cfg = config()
    filled = infer_connectors(cfg, student, teachers, inputs)
    assert filled['connectors']['align'] == dict(
        type='AlignConnector', in_channel=8, out_channel=12, out_size=2
    )
    assert cfg == config()  # the config given stays as it is
    # Another record of the teacher may come first.
    cfg['teacher_recorders']['l'] = dict(type='ModuleOutputs', source='t.head')
    mapping = cfg['loss_forward_mappings']['loss']
    cfg['loss_forward_mappings']['loss'] = dict(
        preds_T=dict(from_student=False, recorder='l'), **mapping
    )
    again = infer_connectors(cfg, student, teachers, inputs)
    assert again['connectors'] == filled['connectors']
    given = config(in_channel=1, out_channel=2)
    assert infer_connectors(given, student, teachers, inputs) == given
    for model in (student, *teachers.values()):
        assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize(
    'side, source, told',
    [
        ('student', 'backbone', 'student_recorders.f, which has a tuple'),
        (
            'student',
            'head',
            r'student_recorders.f, which has a tensor of shape \(2, 10\)',
        ),
        ('teacher', 't.backbone', 'teacher_recorders.f, which has a tuple'),
    ],
)
def test_what_is_no_map_is_named(scope, side, source, told):
    student = build(network(base_channels=4))
    teachers = nn.ModuleDict(dict(t=build(network(base_channels=6))))
    cfg = config()
    cfg[f'{side}_recorders']['f']['source'] = source
    mapping = cfg['loss_forward_mappings']['loss']
    del mapping[f'{side[0]}_feature']['data_idx']
    message = f'connector "align": its channels .* {told}.*FeatureMap'
    with pytest.raises(ValueError, match=message):
        infer_connectors(cfg, student, teachers, torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize(
    'switch',
    [
        dict(student_recorders=dict(f=None)),
        dict(teacher_recorders=dict(f=None)),
        dict(distill_losses=dict(loss=None)),
        dict(loss_forward_mappings=dict(loss=None)),
    ],
)
def test_a_term_is_switched_off(scope, switch):
    """With its connector, which nothing else uses; others stay."""
    cfg = config()
    cfg['student_recorders']['l'] = dict(type='ModuleOutputs', source='head')
    cfg['teacher_recorders']['l'] = dict(type='ModuleOutputs', source='t.head')
    cfg['distill_losses']['loss_kd'] = dict(type='KLDivergence')
    cfg['loss_forward_mappings']['loss_kd'] = dict(
        preds_S=dict(from_student=True, recorder='l'),
        preds_T=dict(from_student=False, recorder='l'),
    )
    for part, values in switch.items():
        cfg[part].update(values)
    model = build(network())
    filled = infer_connectors(
        cfg, model, nn.ModuleDict(dict(t=model)), torch.zeros(2, 1, 8, 8)
    )
    assert [*filled['distill_losses']] == ['loss_kd']
    assert [*filled['loss_forward_mappings']] == ['loss_kd']
    assert filled['connectors'] == {}
    for side in ('student', 'teacher'):
        assert None not in filled[f'{side}_recorders'].values()
    built = build(filled)
    assert not [*built.connectors.parameters()]


def test_names_are_checked(scope):
    cfg = config()
    cfg['student_recorders']['f']['source'] = 'bakbone'
    model = build(network())
    with pytest.raises(ValueError, match='"bakbone". Did you mean backbone'):
        infer_connectors(
            cfg, model, nn.ModuleDict(dict(t=model)), torch.zeros(2, 1, 8, 8)
        )

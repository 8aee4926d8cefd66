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
    given = config(in_channel=1, out_channel=2)
    assert infer_connectors(given, student, teachers, inputs) == given
    for model in (student, *teachers.values()):
        assert not any(m._forward_hooks for m in model.modules())


def test_names_are_checked(scope):
    cfg = config()
    cfg['student_recorders']['f']['source'] = 'bakbone'
    model = build(network())
    with pytest.raises(ValueError, match='"bakbone". Did you mean backbone'):
        infer_connectors(
            cfg, model, nn.ModuleDict(dict(t=model)), torch.zeros(2, 1, 8, 8)
        )

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The networks of the paper, against figures of the authors' code.

docs/networks.md has the comparison layer by layer.
"""

from itertools import chain

import pytest
import torch
import torch.nn as nn
from helpers import ROOT, build
from mmengine.config import Config

# Parameters of the authors' networks for 10 classes, counted in their code.
PARAMETERS = dict(
    vgg11=9_231_114,
    resnet18=11_173_962,
    resnet34=21_282_122,
    wrn16_1=175_066,
    wrn16_2=691_674,
    wrn40_1=563_930,
    wrn40_2=2_243_546,
)


@pytest.fixture(scope='module')
def models():
    """Teachers and students as the configs define them."""
    models = {}
    for pair in (
        'vgg11_resnet18',
        'resnet34_resnet18',
        'wrn40-2_wrn16-1',
        'wrn40-2_wrn40-1',
        'wrn40-2_wrn16-2',
    ):
        cfg = Config.fromfile(ROOT / f'configs/csd/csd_{pair}_cifar10.py')
        cfgs = (
            cfg.model.teachers.teacher.build_cfg,
            cfg.model.architecture,
        )
        for name, part in zip(pair.split('_'), cfgs):
            name = name.replace('-', '_')
            if name not in models:
                models[name] = build(part)
    return models


@pytest.mark.parametrize('name', PARAMETERS)
def test_number_of_parameters(models, name):
    found = sum(p.numel() for p in models[name].parameters())
    assert found == PARAMETERS[name]


def layers(model):
    return [
        type(m).__name__
        for m in model.modules()
        if isinstance(m, (nn.Conv2d, nn.BatchNorm2d, nn.Linear, nn.MaxPool2d))
    ]


def test_vgg_layer_by_layer(models):
    model = models['vgg11']
    conv = ['Conv2d', 'BatchNorm2d']
    pool = ['MaxPool2d']
    expected = [
        *conv, *pool, *conv, *pool, *conv, *conv, *pool, *conv * 4, 'Linear'
    ]  # fmt: skip
    assert layers(model) == expected
    widths = [
        m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)
    ]
    assert widths == [64, 128, 256, 256, 512, 512, 512, 512]
    assert all(
        m.bias is not None for m in model.modules() if isinstance(m, nn.Conv2d)
    )
    (feature,) = model.backbone(torch.zeros(2, 3, 32, 32))
    assert feature.shape == (2, 512, 4, 4) and feature.min() >= 0


def test_vgg_equals_plain_layers():
    """The whole pass in torch.nn.functional, from the state dict."""
    import torch.nn.functional as F

    torch.manual_seed(0)
    model = build(dict(type='VGG_CIFAR', depth=13, num_pools=2)).eval()
    model.init_weights()
    weights = list(
        chain.from_iterable(
            [(m.weight, m.bias)]
            for m in model.modules()
            if isinstance(m, nn.Conv2d)
        )
    )
    maps = inputs = torch.randn(2, 3, 16, 16)
    for index, (weight, bias) in enumerate(weights):
        maps = F.conv2d(maps, weight, bias, padding=1)
        # Running statistics are 0 and 1, scale 1 and shift 0.
        maps = F.relu(maps / (1 + 1e-5) ** 0.5)
        if index in (1, 3):
            maps = F.max_pool2d(maps, 2)
    torch.testing.assert_close(model(inputs)[0], maps)
    # Variance 2 / (9 * outputs), as the authors draw it.
    spread = weights[-1][0].std().item()
    assert spread == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.02)


def test_vgg_of_larger_images():
    model = build(dict(type='VGG_CIFAR', depth=11, num_pools=4))
    assert model(torch.zeros(1, 3, 64, 64))[0].shape == (1, 512, 4, 4)


@pytest.mark.parametrize('wrong', [dict(depth=12), dict(num_pools=5)])
def test_no_such_vgg(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f'{name} of VGG_CIFAR.*got {value}'):
        build(dict(dict(type='VGG_CIFAR', depth=11), **wrong))


def test_where_wide_resnets_normalise(models):
    """Before each convolution, and once after the last block."""
    model = models['wrn16_1']
    block = model.backbone.layer2[0]
    assert (block.bn1.num_features, block.bn2.num_features) == (16, 32)
    assert block.conv1.stride == (2, 2) and block.downsample.bias is None
    # A stage that keeps width and size has no convolution in its shortcut.
    assert model.backbone.layer1[0].downsample is None
    assert model.backbone.conv1.kernel_size == (3, 3)
    assert model.backbone.bn1.num_features == 64
    maps = model.backbone.layer3(
        model.backbone.layer2(torch.randn(2, 16, 32, 32))
    )
    assert maps.shape == (2, 64, 8, 8) and maps.min() < 0

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from helpers import ROOT, build
from mmengine.config import Config

# Parameters with the linear layer for 10 classes, counted in the code of
# github akamaster/pytorch_resnet_cifar10; the paper has 0.27 M to 1.7 M.
PARAMETERS = {
    20: 269_722,
    32: 464_154,
    44: 658_586,
    56: 853_018,
    110: 1_727_962,
}
PAIR = 'configs/csd/csd_resnet56_resnet20_cifar10.py'


def of_depth(depth):
    cfg = Config.fromfile(ROOT / PAIR).model.architecture
    cfg.backbone.depth = depth
    return build(cfg)


@pytest.mark.parametrize('depth', PARAMETERS)
def test_number_of_parameters(depth):
    model = of_depth(depth)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[depth]
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) + 1 == depth
    assert all(m.kernel_size == (3, 3) and m.bias is None for m in convs)


def plain(weights, image, depth):
    """The whole pass in torch.nn.functional, from the state dict."""

    def conv_bn(x, name, number, stride=1):
        x = F.conv2d(x, weights[f'{name}conv{number}.weight'], None, stride, 1)
        mean, var, scale, shift = (
            weights[f'{name}bn{number}.{part}'].view(1, -1, 1, 1)
            for part in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    x = conv_bn(image, 'backbone.', 1).relu()
    for stage in (1, 2, 3):
        for block in range((depth - 2) // 6):
            name = f'backbone.layer{stage}.{block}.'
            halves = stage > 1 and block == 0
            out = conv_bn(x, name, 1, 2 if halves else 1).relu()
            out = conv_bn(out, name, 2)
            if halves:  # zeros around the channels of every second pixel
                zeros = torch.zeros_like(x[:, ::2, ::2, ::2])
                x = torch.cat([zeros, x[..., ::2, ::2], zeros], 1)
            x = (out + x).relu()
    x = x.mean((2, 3))
    return x @ weights['head.fc.weight'].T + weights['head.fc.bias']


def lived_in(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.double().eval()


def test_equals_plain_layers():
    model = lived_in(of_depth(20))
    images = torch.randn(3, 3, 32, 32).double()
    expected = plain(model.state_dict(), images, 20)
    torch.testing.assert_close(model(images, mode='tensor'), expected)


def test_a_strangers_file_is_loaded(tmp_path):
    """Names as their author has them, through the pair's own config."""
    model = lived_in(of_depth(56))
    names = {}
    for key, value in model.float().state_dict().items():
        key = key.replace('head.fc.', 'linear.').replace('backbone.', '')
        if 'num_batches' not in key:  # of a time before them
            names[f'module.{key}'] = value
    torch.save(dict(state_dict=names, best_prec1=93.39), tmp_path / 'a.th')
    cfg = Config.fromfile(ROOT / PAIR).model
    cfg.teachers.teacher.ckpt_path = str(tmp_path / 'a.th')
    teacher = build(cfg).teachers['teacher']
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        teacher(images, mode='tensor'), model(images, mode='tensor')
    )


@pytest.mark.parametrize('depth', [18, 2, 20.0, '20'])
def test_no_such_depth(depth):
    with pytest.raises(ValueError, match=f'depth of CIFARResNet .*{depth}'):
        build(dict(type='CIFARResNet', depth=depth))


def test_other_channels_and_sizes():
    model = build(dict(type='CIFARResNet', depth=8, in_channels=1))
    assert model(torch.zeros(2, 1, 28, 28))[0].shape == (2, 64, 7, 7)

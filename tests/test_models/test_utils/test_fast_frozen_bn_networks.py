# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The fast BN layers in real classifiers, against plain hooks."""

from contextlib import contextmanager

import pytest
import torch
import torch.nn as nn
from helpers import build
from timm.layers import BatchNormAct2d
from torchvision.ops.misc import FrozenBatchNorm2d

from csd_mmrazor.models.synthesizers.compiled import CompiledCopy
from csd_mmrazor.models.utils import bn_layers, fast_frozen_bn, frozen

SIZE, CLASSES = 32, 10


def torchvision(name, **kwargs):
    return dict(
        type='TorchClassifier',
        factory=f'torchvision.models.{name}',
        num_classes=CLASSES,
        **kwargs,
    )


def timm(name, **kwargs):
    return dict(
        type='TorchClassifier',
        factory='timm.create_model',
        model_name=name,
        num_classes=CLASSES,
        **kwargs,
    )


def mmpretrain(backbone, width, **kwargs):
    return dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        backbone=dict(type=backbone, **kwargs),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead', num_classes=CLASSES, in_channels=width
        ),
    )


NETWORKS = {
    'resnet18': torchvision('resnet18'),
    'resnet18 of frozen layers': torchvision(
        'resnet18', norm_layer=FrozenBatchNorm2d
    ),
    'mobilenet_v2': torchvision('mobilenet_v2', width_mult=0.25),
    'mobilenet_v3_small': torchvision('mobilenet_v3_small', width_mult=0.5),
    'shufflenet_v2': torchvision('shufflenet_v2_x0_5'),
    'mnasnet': torchvision('mnasnet0_5'),
    'efficientnet': torchvision('efficientnet_b0'),
    # Its auxiliary heads have BN layers that do not run in eval mode.
    'googlenet': torchvision('googlenet', init_weights=False),
    'regnet_x': torchvision('regnet_x_400mf'),
    'timm test_byobnet': timm('test_byobnet'),
    'timm test_efficientnet': timm('test_efficientnet'),
    'timm test_resnet': timm('test_resnet'),
    'timm mobilenetv3': timm('mobilenetv3_small_050'),
    'timm lcnet': timm('lcnet_035'),
    'timm regnety': timm('regnety_002'),
    'timm ghostnet': timm('ghostnet_050'),
    'timm semnasnet': timm('semnasnet_050'),
    'timm tinynet': timm('tinynet_e'),
    'timm mobilevit': timm('mobilevit_xxs'),
    'timm xcit': timm('xcit_nano_12_p16_224', img_size=SIZE),
    'mmpretrain ResNet_CIFAR': mmpretrain(
        'ResNet_CIFAR', 128, depth=18, base_channels=16, stem_channels=16
    ),
    'mmpretrain SEResNet': mmpretrain(
        'SEResNeXt',
        512,
        depth=50,
        base_channels=16,
        groups=4,
        width_per_group=4,
    ),
    'mmpretrain MobileNetV2': mmpretrain(
        'MobileNetV2', 1280, widen_factor=0.25
    ),
    'mmpretrain MobileNetV3': mmpretrain('MobileNetV3', 576, arch='small'),
    'mmpretrain ShuffleNetV2': mmpretrain(
        'ShuffleNetV2', 1024, widen_factor=0.5
    ),
    'mmpretrain RegNet': mmpretrain('RegNet', 384, arch='regnetx_400mf'),
    'mmpretrain ConvMixer': mmpretrain(
        'ConvMixer',
        64,
        arch=dict(embed_dims=64, depth=3, patch_size=4, kernel_size=5),
    ),
    'mmpretrain VGG of SyncBN': mmpretrain(
        'VGG', 512, depth=11, norm_cfg=dict(type='SyncBN')
    ),
}


def lived_in(model):
    """Give a network statistics near those of images, but not equal."""

    def near(layer, args):
        maps = args[0].detach()
        others = [dim for dim in range(maps.ndim) if dim != 1]
        std = maps.std(others).add(0.1)
        noise = torch.randn_like(std)
        layer.running_mean.copy_(maps.mean(others) + 0.3 * std * noise)
        layer.running_var.copy_(std.square() * (0.5 + torch.rand_like(std)))
        for values in (layer.weight, layer.bias):
            values.data.normal_(0.5, 0.3)

    model = model.eval()
    handles = [m.register_forward_pre_hook(near) for m in kept(model)]
    with torch.no_grad():
        model(torch.randn(8, 3, SIZE, SIZE).to(dtype_of(model)), mode='tensor')
    for handle in handles:
        handle.remove()
    return model


def dtype_of(model):
    return next(model.parameters()).dtype


def kept(model):
    """Modules with running statistics, told by their buffers alone."""
    return [m for m in model.modules() if 'running_mean' in m._buffers]


@contextmanager
def plain_hooks(model):
    seen = []

    def note(layer, args):
        maps = args[0]
        others = [dim for dim in range(maps.ndim) if dim != 1]
        seen.append(
            (
                maps.mean(others),
                maps.var(others, unbiased=False),
                layer.running_mean,
                layer.running_var,
            )
        )

    handles = [m.register_forward_pre_hook(note) for m in kept(model)]
    yield seen
    for handle in handles:
        handle.remove()


def outcome(model, inputs, statistics):
    """Logits, statistics and the inputs' gradient of both."""
    inputs = inputs.clone().requires_grad_()
    logits = model(inputs, mode='tensor')
    found = [tuple(each) for each in statistics]
    loss = logits.square().mean() + sum(
        (mean - running_mean).square().mean()
        + (var - running_var).square().mean()
        for mean, var, running_mean, running_var in found
    )
    return logits, found, torch.autograd.grad(loss, inputs)[0]


@pytest.mark.parametrize('name', NETWORKS)
def test_equals_the_plain_network(name):
    # In float64, so that no kink of a ReLU is on another side by rounding.
    model = lived_in(build(NETWORKS[name]).double())
    inputs = torch.randn(4, 3, SIZE, SIZE, dtype=torch.float64)
    with frozen(model):
        with plain_hooks(model) as seen:
            expected = outcome(model, inputs, seen)
        with fast_frozen_bn(model, True) as statistics:
            found = outcome(model, inputs, statistics)
        with fast_frozen_bn(model):
            logits = model(inputs, mode='tensor')
    assert 0 < len(found[1]) <= len(kept(model)) == len(bn_layers(model))
    assert expected[2].abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(logits, expected[0], rtol=1e-6, atol=1e-9)
    for module in model.modules():
        assert 'forward' not in vars(module)
        assert not module._forward_pre_hooks


class Mixed(nn.Module):
    """The fast layer, one that works on its input, and a frozen one."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 4, 3),
            nn.BatchNorm2d(4),
            BatchNormAct2d(4),
            FrozenBatchNorm2d(4),
        )

    def forward(self, inputs, mode):
        return self.layers(inputs).mean((2, 3))


@pytest.mark.parametrize(
    'name, backend',
    [
        ('mixed', 'inductor'),
        ('timm test_efficientnet', 'aot_eager'),
        ('mmpretrain VGG of SyncBN', 'aot_eager'),
    ],
)
def test_equals_the_plain_network_compiled(name, backend, monkeypatch):
    """The C++ compiler takes long: one network that has each kind sees it."""
    model = lived_in(Mixed() if name == 'mixed' else build(NETWORKS[name]))
    inputs = torch.randn(4, 3, SIZE, SIZE)
    with frozen(model), plain_hooks(model) as seen:
        expected = outcome(model, inputs, seen)
    compiled = torch.compile
    monkeypatch.setattr(
        torch,
        'compile',
        lambda *args, **kwargs: compiled(*args, backend=backend, **kwargs),
    )
    copy = CompiledCopy(model, True)
    for _ in range(2):  # the second pass is not traced
        copy.statistics.clear()
        found = outcome(copy, inputs, copy.statistics)
        assert len(found[1]) == len(expected[1])
        for value, other in zip(found[1], expected[1]):
            torch.testing.assert_close(value, other, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found[0], expected[0], rtol=1e-3, atol=1e-3)
        scale = expected[2].abs().max()
        assert (found[2] - expected[2]).abs().max() < 1e-3 * scale

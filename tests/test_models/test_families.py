# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Pairs of mmpretrain's classifiers, from config alone."""

import math

import pytest
import torch
from helpers import ROOT, build
from mmengine.config import Config

from csd_mmrazor.engine import DistillationOptimWrapperConstructor
from csd_mmrazor.models import Networks
from csd_mmrazor.models.utils import bn_layers


def classifier(width, neck='GlobalAveragePooling', head=None, **backbone):
    return dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        backbone=backbone,
        neck=dict(type=neck) if neck else None,
        head=dict(
            dict(type='LinearClsHead', num_classes=10, in_channels=width),
            **(head or {}),
        ),
    )


VIT = dict(
    embed_dims=32,
    num_layers=2,
    num_heads=2,
    feedforward_channels=64,
)
# The smallest of each family, for images of 32 pixels.
FAMILIES = dict(
    ResNet=classifier(
        64,
        type='ResNet',
        depth=18,
        base_channels=8,
        stem_channels=8,
    ),
    VGG=classifier(512, type='VGG', depth=11, norm_cfg=dict(type='BN')),
    MobileNetV2=classifier(1280, type='MobileNetV2', widen_factor=0.25),
    ShuffleNetV2=classifier(1024, type='ShuffleNetV2', widen_factor=0.5),
    RepVGG=classifier(
        160,
        type='RepVGG',
        arch=dict(
            num_blocks=[1, 1, 1, 1],
            width_factor=[0.25] * 3 + [0.3125],
            group_layer_map=None,
            se_cfg=None,
        ),
        out_indices=(3,),
    ),
    EfficientNet=classifier(1280, type='EfficientNet', arch='b0'),
    DenseNet=classifier(
        11,
        type='DenseNet',
        arch=dict(growth_rate=4, depths=[1, 1, 1], init_channels=16),
    ),
    ConvNeXt=classifier(
        64,
        neck=None,
        type='ConvNeXt',
        arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 32, 64]),
    ),
    VisionTransformer=classifier(
        32,
        neck=None,
        head=dict(type='VisionTransformerClsHead'),
        type='VisionTransformer',
        arch=VIT,
        img_size=32,
        patch_size=8,
    ),
    SwinTransformer=classifier(
        64,
        type='SwinTransformer',
        arch=dict(embed_dims=16, depths=[1, 1, 1], num_heads=[1, 2, 4]),
        img_size=32,
        patch_size=2,
        window_size=4,
        out_indices=(2,),
    ),
)
RESNET = classifier(
    32,
    type='ResNet_CIFAR',
    depth=18,
    base_channels=16,
    stem_channels=16,
    num_stages=2,
    strides=(1, 2),
    dilations=(1, 1),
    out_indices=(1,),
)
NO_BN = ('ConvNeXt', 'VisionTransformer', 'SwinTransformer')


def one_step_of_each_kind(student, teacher, loss_bn=1):
    """One step of synthesis, of the student and of the head."""
    cfg = Config.fromfile(ROOT / 'configs/csd/csd_vgg11_resnet18_cifar10.py')
    cfg.model.architecture = student
    cfg.model.teachers.teacher = dict(build_cfg=teacher, ckpt_path='none')
    cfg.model.log_interval = 1
    torch.manual_seed(0)
    algorithm = build(cfg.model)
    synthesizer = cfg.default_hooks.synthesis.synthesizer
    # With 2 images, a BN layer on maps of one pixel would pass no gradient.
    synthesizer.update(batch_size=4, iters=1)
    synthesizer.losses.loss_bn.loss_weight = loss_bn
    synthesizer = build(synthesizer)
    networks = Networks.from_algorithm(algorithm)
    assert synthesizer.check(networks) == (10, (3, 32, 32))
    batch = synthesizer.synthesize(networks, 10)
    has_bn = bool(bn_layers(algorithm.teachers))
    assert ('loss_bn' in batch.terms) is (loss_bn > 0 and has_bn)
    # What takes its place.
    prior = {'loss_patch', 'loss_tv'} & {*batch.terms}
    assert len(prior) == (2 if loss_bn > 0 and not has_bn else 0)
    assert all(math.isfinite(value) for value in batch.terms.values())
    wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
    optimizers = DistillationOptimWrapperConstructor(
        dict(architecture=wrapper, aux_head=wrapper)
    )(algorithm)
    before = [p.detach().clone() for p in algorithm.student.parameters()]
    data = dict(inputs=batch.images, labels=batch.labels)
    log_vars = algorithm.train().train_step(data, optimizers)
    assert all(math.isfinite(value) for value in log_vars.values())
    assert {'loss_aux', 'distill.loss_feature'} <= set(log_vars)
    changed = [
        not torch.equal(old, new)
        for old, new in zip(before, algorithm.student.parameters())
    ]
    assert changed[0] and changed[-1]
    return algorithm


@pytest.mark.parametrize('family', FAMILIES)
def test_as_student(family):
    algorithm = one_step_of_each_kind(FAMILIES[family], RESNET)
    width = FAMILIES[family]['head']['in_channels']
    assert algorithm.aux_head.in_channels == width
    assert algorithm.distiller.connectors['align'].out_size == 16


# The others work as well, but the connector to their wide maps takes long.
@pytest.mark.parametrize('family', ['ResNet', 'RepVGG', 'DenseNet', *NO_BN])
def test_as_teacher(family):
    one_step_of_each_kind(RESNET, FAMILIES[family])


def test_as_teacher_without_a_prior():
    one_step_of_each_kind(RESNET, FAMILIES['VisionTransformer'], loss_bn=0)

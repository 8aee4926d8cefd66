# Copyright (c) csd_mmrazor developers. All rights reserved.

from helpers import network
from mmengine.config import Config
from mmengine.hub import get_config, get_model
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmrazor.registry import MODELS


def test_mmcls_means_mmpretrain(tmp_path):
    old = get_config('mmcls::resnet/resnet18_8xb16_cifar10.py')
    new = get_config('mmpretrain::resnet/resnet18_8xb16_cifar10.py')
    assert old.model == new.model
    model = get_model('mmcls::resnet/resnet18_8xb16_cifar10.py')
    assert type(model) is MMPRETRAIN_MODELS.get('ImageClassifier')
    assert MODELS.get('mmcls.ResNet_CIFAR') is MMPRETRAIN_MODELS.get(
        'ResNet_CIFAR'
    )
    path = tmp_path / 'config.py'
    path.write_text("_base_ = 'mmcls::_base_/datasets/cifar10_bs16.py'")
    assert Config.fromfile(path).dataset_type == 'CIFAR10'
    cfg = dict(
        cfg_path='mmcls::resnet/resnet18_8xb16_cifar10.py', pretrained=False
    )
    assert type(MODELS.build(cfg)) is type(model)
    cfg = network()
    cfg['_scope_'] = 'mmcls'
    assert type(MODELS.build(cfg)) is type(model)

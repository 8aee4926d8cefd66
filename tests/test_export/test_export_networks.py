# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Any network comes out of a run as it was trained in it."""

import importlib
import json

import mmpretrain
import pytest
import torch
from helpers import build, network
from mmengine.config import Config
from test_models.test_families import FAMILIES

from csd_mmrazor.export import export_student, own_network, plain_student

# The smallest of their kinds, by the function and its arguments.
STRANGERS = {
    'torchvision.models.resnet18': {},
    'torchvision.models.mobilenet_v3_small': {},
    'torchvision.models.shufflenet_v2_x0_5': {},
    'torchvision.models.squeezenet1_1': {},
    'torchvision.models.mnasnet0_5': {},
    # Their auxiliary heads are weights as well.
    'torchvision.models.googlenet': dict(init_weights=False),
    'timm.models.mobilenetv4_conv_small': {},
    'timm.models.convnext_atto': {},
    'timm.models.regnety_002': {},
    'timm.models.vit_tiny_patch16_224': dict(img_size=64),
    'timm.models.efficientvit_m0': {},
    'timm.models.ghostnet_050': {},
}


def trained(cfg, shape, tmp_path):
    """A student that is none of new weights, and what a run leaves of it."""
    student = build(cfg.model.architecture)
    for name, value in student.state_dict().items():
        if value.is_floating_point() and 'var' not in name:
            value.add_(torch.randn_like(value) * value.std().nan_to_num(0.1))
    state = {f'architecture.{k}': v for k, v in student.state_dict().items()}
    state['distiller.connectors.align.weight'] = torch.zeros(1)
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=state, meta=dict(epoch=1)), path)
    inputs = torch.randn(2, *shape)
    with torch.no_grad():
        return path, inputs, student.eval()(inputs, mode='tensor')


def config(architecture, shape):
    return Config(
        dict(model=dict(architecture=architecture, image_shape=shape))
    )


@pytest.mark.parametrize('factory', STRANGERS)
def test_of_torchvision_and_timm(factory, tmp_path):
    package, _, name = factory.rpartition('.')
    pytest.importorskip(package)
    arguments = dict(STRANGERS[factory], num_classes=7)
    student = dict(type='mmrazor.TorchClassifier', factory=factory)
    cfg = config(dict(student, **arguments), (3, 64, 64))
    path, inputs, logits = trained(cfg, (3, 64, 64), tmp_path)
    exported = export_student(cfg, path, tmp_path / 'out/student.pth')
    own = getattr(importlib.import_module(package), name)(**arguments)
    own.load_state_dict(torch.load(exported.weights, weights_only=True))
    with torch.no_grad():
        assert torch.equal(own.eval()(inputs), logits)
    assert logits.std() > 0
    told = json.loads(exported.description.read_text())
    assert told['num_classes'] == 7 and told['image_shape'] == [3, 64, 64]
    assert (told['factory'], told['arguments']) == (factory, arguments)
    assert exported.config is None and exported.checkpoint is None


@pytest.mark.parametrize('name', [*FAMILIES, 'tiny'])
def test_of_mmpretrain(name, tmp_path):
    cfg = config(FAMILIES.get(name, network(channels=3)), (3, 32, 32))
    path, inputs, logits = trained(cfg, (3, 32, 32), tmp_path)
    exported = export_student(cfg, path, tmp_path / 'student.pth')
    _, own = plain_student(cfg)
    own.load_state_dict(torch.load(exported.weights, weights_only=True))
    theirs = mmpretrain.get_model(
        str(exported.config), pretrained=str(exported.checkpoint)
    )
    with torch.no_grad():
        for model in (own, theirs):
            assert torch.equal(model(inputs, mode='tensor'), logits)
    assert logits.std() > 0


def test_of_timm_in_mmpretrain(tmp_path):
    """The weights alone are timm's, the checkpoint is mmpretrain's."""
    timm = pytest.importorskip('timm')
    own = dict(model_name='resnet10t', num_classes=5)
    cfg = config(
        dict(own, type='mmpretrain.TimmClassifier', pretrained=False),
        (3, 32, 32),
    )
    path, inputs, logits = trained(cfg, (3, 32, 32), tmp_path)
    exported = export_student(cfg, path, tmp_path / 'student.pth')
    assert own_network(exported.model) is exported.network
    alone = timm.create_model(**own)
    alone.load_state_dict(torch.load(exported.weights, weights_only=True))
    theirs = mmpretrain.get_model(
        str(exported.config), pretrained=str(exported.checkpoint)
    )
    with torch.no_grad():
        assert torch.equal(alone.eval()(inputs), logits)
        assert torch.equal(theirs(inputs, mode='tensor'), logits)


def test_arguments_of_the_function_stay_as_they_are(tmp_path):
    """Weights change layers, such as GoogLeNet's of the input."""
    student = dict(
        type='mmrazor.TorchClassifier',
        factory='torchvision.models.googlenet',
        init_weights=False,
        aux_logits=False,
        transform_input=True,
        init_cfg=dict(type='Pretrained', checkpoint='gone.pth'),
    )
    _, model = plain_student(config(student, (3, 32, 32)))
    assert model.net.transform_input and model.init_cfg is None

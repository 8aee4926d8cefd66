# Copyright (c) csd_mmrazor developers. All rights reserved.
import urllib.request
from pathlib import Path

import mmrazor as installed_mmrazor
import pytest
import torch
from helpers import build, network
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmpretrain.models import ClsDataPreprocessor, SelfSupDataPreprocessor
from mmrazor.models import algorithms
from mmrazor.registry import MODELS

from csd_mmrazor.compat import mmrazor_configs
from csd_mmrazor.utils import without_own_weights

CONFIGS = Path(installed_mmrazor.__file__).parent / '.mim/configs'


@pytest.mark.parametrize('cls', [ClsDataPreprocessor, SelfSupDataPreprocessor])
def test_preprocessors_are_found_in_the_scope_of_mmrazor(cls, scope):
    assert type(MODELS.build(dict(type=cls.__name__))) is cls
    with pytest.raises(KeyError, match='DetDataPreprocessor'):
        MODELS.build(dict(type='DetDataPreprocessor'))


def test_a_classifier_in_the_scope_of_mmrazor(scope):
    model = MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmpretrain.ResNet_CIFAR', depth=18),
        )
    )
    assert type(model.data_preprocessor) is ClsDataPreprocessor


@pytest.mark.parametrize('is_built', [False, True])
def test_a_preprocessor_without_type_is_of_the_networks(is_built):
    architecture = network(channels=3)
    model = build(
        dict(
            type='SingleTeacherDistill',
            architecture=build(architecture) if is_built else architecture,
            teacher=network(channels=3),
            data_preprocessor=dict(mean=[1.0], std=[2.0]),
            distiller=dict(type='ConfigurableDistiller'),
        )
    )
    assert type(model.data_preprocessor) is ClsDataPreprocessor
    assert model.data_preprocessor.mean.flatten().tolist() == [1]


def test_byot_of_mmrazor_builds():
    model = build(
        get_config(
            'mmrazor::distill/mmcls/byot/byot_resnet18_8xb16_cifar100.py'
        ).model
    )
    assert type(model.data_preprocessor).__name__ == 'ImgDataPreprocessor'


def test_old_names_of_arguments():
    cfg = get_config(
        'mmrazor::nas/mmcls/autoslim/autoslim_mbv2_1.5x_search_8xb256_in1k.py'
    ).model
    assert cfg.bn_training_mode is True
    assert build(cfg).norm_training is True
    # A new name beside an old one is for MMRazor to refuse.
    with pytest.raises(TypeError, match='bn_training_mode'):
        algorithms.AutoSlim(bn_training_mode=True, norm_training=True)
    with pytest.raises(TypeError, match='mutators'):
        algorithms.BigNAS(mutators={}, mutator={})


def test_old_names_of_inputs_of_a_loss():
    def distiller(**mapping):
        return build(
            dict(
                type='ConfigurableDistiller',
                student_recorders=dict(
                    fc=dict(type='ModuleOutputs', source='head.fc')
                ),
                teacher_recorders=dict(
                    fc=dict(type='ModuleOutputs', source='head.fc')
                ),
                distill_losses=dict(loss=dict(type='DISTLoss')),
                loss_forward_mappings=dict(
                    loss={
                        name: dict(from_student=student, recorder='fc')
                        for name, student in mapping.items()
                    }
                ),
            )
        )

    old = distiller(preds_S=True, preds_T=False)
    new = distiller(logits_S=True, logits_T=False)
    assert old.loss_forward_mappings == new.loss_forward_mappings
    with pytest.raises(AssertionError, match='preds_S is not in'):
        distiller(preds_S=True, logits_S=True, logits_T=False)
    with pytest.raises(AssertionError, match='preds_X is not in'):
        distiller(preds_X=True)


def test_subnets_that_mmrazors_wheel_lacks(tmp_path, monkeypatch):
    from mmrazor.structures.subnet import fix_subnet

    monkeypatch.chdir(tmp_path)
    model = build(network())
    name = 'configs/nas/mmcls/darts/nothing.yaml'
    with pytest.raises(
        FileNotFoundError, match=f'mmrazor/blob/main/{name}.*fix_subnet'
    ):
        fix_subnet.load_fix_subnet(model, name)
    with pytest.raises(FileNotFoundError, match='mine.yaml'):
        fix_subnet.load_fix_subnet(model, 'mine.yaml')
    # Here, or where MMRazor is installed from its repository.
    for path in (tmp_path, tmp_path / 'installed/.mim'):
        path = path / 'configs/subnet.yaml'
        path.parent.mkdir(parents=True)
        path.write_text('{}')
        fix_subnet.load_fix_subnet(model, 'configs/subnet.yaml')
        path.unlink()
        monkeypatch.setattr(
            installed_mmrazor, '__file__', str(tmp_path / 'installed/x.py')
        )
        mmrazor_configs.find_subnets()
    monkeypatch.undo()
    mmrazor_configs.find_subnets()


NETWORK = dict(
    cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py', pretrained=True
)


@pytest.mark.parametrize(
    'cfg, expected',
    [
        (NETWORK, dict(NETWORK, pretrained=False)),
        (dict(type='X', pretrained='a.pth'), dict(type='X', pretrained=None)),
        (dict(type='X', weights='DEFAULT'), dict(type='X', weights=None)),
        (
            dict(type='X', init_cfg=dict(type='Pretrained', checkpoint='u')),
            dict(type='X', init_cfg=None),
        ),
        (
            dict(
                type='X',
                init_cfg=[dict(type='Pretrained'), dict(type='Kaiming')],
            ),
            dict(type='X', init_cfg=[dict(type='Kaiming')]),
        ),
        (
            dict(type='X', init_cfg=dict(type='Kaiming')),
            dict(type='X', init_cfg=dict(type='Kaiming')),
        ),
    ],
)
def test_a_given_file_takes_the_place_of_own_weights(cfg, expected):
    assert without_own_weights(cfg, 'teacher.pth') == expected
    for none in (None, '', 'none'):
        assert without_own_weights(cfg, none) is cfg


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def urlopen(*args, **kwargs):
        raise urllib.error.URLError('no network')

    monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
    monkeypatch.setattr(torch.hub, 'urlopen', urlopen)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))


@pytest.mark.parametrize(
    'name', ['SingleTeacherDistill', 'DataFreeDistillation', 'CSDDistillation']
)
def test_a_teacher_with_a_file_is_not_downloaded(name, no_network, tmp_path):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        teacher = MODELS.build(dict(NETWORK, pretrained=False))
    path = tmp_path / 'teacher.pth'
    torch.save(teacher.state_dict(), path)
    parts = dict(
        type=name,
        architecture=dict(NETWORK, pretrained=False),
        distiller=dict(type='ConfigurableDistiller'),
    )
    if name == 'SingleTeacherDistill':
        parts.update(teacher=NETWORK, teacher_ckpt=str(path))
    else:
        teacher_cfg = dict(build_cfg=NETWORK, ckpt_path=str(path))
        parts['teachers'] = dict(t=teacher_cfg)
    if name == 'DataFreeDistillation':
        parts['generator'] = dict(
            type='DAFLGenerator', img_size=8, latent_dim=4, hidden_channels=8
        )
        parts['generator_distiller'] = dict(type='ConfigurableDistiller')
    if name == 'CSDDistillation':
        parts['image_shape'] = (3, 32, 32)
    model = build(parts)
    found = model.teacher if 'teacher' in parts else model.teachers['t']
    for key, value in found.state_dict().items():
        assert torch.equal(value, teacher.state_dict()[key]), key
    # Without one, the error says what to give.
    parts.pop('teacher_ckpt', None)
    if 'teachers' in parts:
        del teacher_cfg['ckpt_path']
    with pytest.raises(FileNotFoundError, match='ckpt_path=FILE'):
        build(parts)


def test_deit_learns_from_the_tokens_of_mmpretrain():
    from mmrazor.models.architectures.heads import DeiTClsHead

    head = DeiTClsHead(num_classes=3, in_channels=4)
    patches, cls, dist = torch.randn(3, 2, 4)
    for feats in ([(cls, dist)], [(patches, cls, dist)]):
        found = head.pre_logits(feats)
        assert found[0] is cls and found[1] is dist
        assert torch.equal(head(feats), head.layers.head(cls))

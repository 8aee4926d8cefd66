# Copyright (c) csd_mmrazor developers. All rights reserved.
import email.message
import hashlib
import io
import re
import urllib.request
from pathlib import Path

import mmrazor as installed_mmrazor
import pytest
import torch
from helpers import build, network
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmpretrain.models import ClsDataPreprocessor, SelfSupDataPreprocessor
from mmrazor.implementations.pruning.group_fisher import (
    prune_deploy_sub_model,
)
from mmrazor.models import algorithms
from mmrazor.models.mutators.channel_mutator import channel_mutator
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


SUBNET = 'configs/nas/mmcls/spos/SPOS_SUBNET.yaml'


@pytest.fixture
def load_subnet(tmp_path, monkeypatch):
    """Loads a subnet where MMRazor is installed without one; and a folder."""
    from mmrazor.structures.subnet import fix_subnet

    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    monkeypatch.setattr(
        installed_mmrazor, '__file__', str(tmp_path / 'there/mmrazor/x.py')
    )
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    model = build(network())
    return lambda name: fix_subnet.load_fix_subnet(model, name)


@pytest.mark.parametrize(
    'folder', ['here', 'there/mmrazor/.mim', 'there', 'mmrazor']
)
def test_subnets_are_found(folder, load_subnet, tmp_path, no_network):
    path = tmp_path / folder / SUBNET
    path.parent.mkdir(parents=True)
    path.write_text('{}')
    load_subnet(SUBNET)
    path.write_text('is read')
    with pytest.raises(TypeError, match='should be a'):
        load_subnet(SUBNET)
    for module in (channel_mutator, prune_deploy_sub_model):
        assert module.fileio.load(SUBNET) == 'is read'


@pytest.mark.parametrize('content', [b'{}', b'{} # altered'])
def test_subnets_are_downloaded(content, load_subnet, tmp_path, monkeypatch):
    digest = hashlib.sha256(b'{}').hexdigest()[:16]
    monkeypatch.setitem(mmrazor_configs._SUBNETS, SUBNET, digest)
    asked = []

    def urlopen(request, *args, **kwargs):
        asked.append(request.full_url)
        answer = io.BytesIO(content)
        answer.info = email.message.Message
        return answer

    monkeypatch.setattr(torch.hub, 'urlopen', urlopen)
    if content == b'{}':
        load_subnet(SUBNET)
        load_subnet(SUBNET)
    else:
        with pytest.raises(FileNotFoundError, match='invalid hash value'):
            load_subnet(SUBNET)
    (url,) = asked
    assert url.startswith('https://raw.githubusercontent.com/open-mmlab/')
    assert url.endswith(SUBNET)
    files = [path for path in tmp_path.rglob('*') if path.is_file()]
    expected = [tmp_path / 'mmrazor' / SUBNET]
    assert files == (expected if content == b'{}' else [])


def test_subnets_that_are_nowhere(load_subnet, no_network):
    with pytest.raises(
        FileNotFoundError, match=f'get https.*{SUBNET}(.|\n)*fix_subnet'
    ):
        load_subnet(SUBNET)
    with pytest.raises(FileNotFoundError, match='no configs/mine.yaml.*fix_'):
        load_subnet('configs/mine.yaml')
    with pytest.raises(FileNotFoundError, match="'mine.yaml'"):
        load_subnet('mine.yaml')


def test_every_subnet_that_configs_name_is_known():
    named = {
        name
        for path in CONFIGS.rglob('*.py')
        for name in re.findall(
            r"'((?:configs|tests)/[^']*\.(?:yaml|json))'", path.read_text()
        )
    }
    # That one is not in MMRazor's repository either.
    named.remove('configs/nas/spos/AngleNAS_SHUFFLENETV2_IN1k_2.0.yaml')
    assert named == mmrazor_configs._SUBNETS.keys()


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

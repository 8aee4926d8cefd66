# Copyright (c) csd_mmrazor developers. All rights reserved.
import ast
import builtins
import importlib
import importlib.util
import inspect
import pickle
import sys
from pathlib import Path

import mmengine
import pytest
import torch
from helpers import network
from mmengine.config import Config
from mmengine.hub import get_config, get_model
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmrazor.registry import MODELS

from csd_mmrazor.compat import mmcls


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


@pytest.mark.parametrize(
    'kind, name, new',
    [
        ('TRANSFORMS', 'mmcls.PackClsInputs', 'PackInputs'),
        ('TRANSFORMS', 'mmcls.ToPIL', 'NumpyToPIL'),
        ('TRANSFORMS', 'mmcls.ToNumpy', 'PILToNumpy'),
        ('TRANSFORMS', 'mmcls.RandomFlip', 'RandomFlip'),
        ('VISUALIZERS', 'mmcls.ClsVisualizer', 'UniversalVisualizer'),
        ('OPTIMIZERS', 'mmcls.SGD', 'SGD'),
        ('OPTIMIZERS', 'mmcls.Adam', 'Adam'),
        ('PARAM_SCHEDULERS', 'mmcls.CosineAnnealingLR', 'CosineAnnealingLR'),
        ('DATA_SAMPLERS', 'mmcls.DefaultSampler', 'DefaultSampler'),
        ('MODELS', 'mmcls.models.ImageClassifier', 'ImageClassifier'),
    ],
)
@pytest.mark.parametrize('package', ['mmengine', 'mmpretrain', 'mmrazor'])
def test_registered_names_are_found_in_every_scope(package, kind, name, new):
    registry = getattr(importlib.import_module(f'{package}.registry'), kind)
    assert registry.get(name).__name__ == new
    if package == 'mmpretrain':  # as in ``_scope_='mmcls'``
        assert registry.get(name.split('.')[-1]).__name__ == new


def test_unknown_names_stay_unknown():
    from mmpretrain.registry import TRANSFORMS

    for name in ('mmcls.Nothing', 'PackDetInputs', 'mmclsPackClsInputs'):
        assert TRANSFORMS.get(name) is None


@pytest.mark.parametrize(
    'old, new',
    [
        ('deit/deit-base_pt-16xb64_in1k', 'deit/deit-base_16xb64_in1k'),
        (
            'deit/deit-base-distilled_ft-16xb32_in1k-384px',
            'deit/deit-base-distilled_16xb32_in1k-384px',
        ),
        (
            'vision_transformer/vit-large-p16_ft-64xb64_in1k-384',
            'vision_transformer/vit-large-p16_64xb64_in1k-384px',
        ),
        (
            'vision_transformer/vit-base-p16_pt-32xb128-mae_in1k-224',
            'vision_transformer/vit-base-p16_32xb128-mae_in1k',
        ),
        (
            'swin_transformer/swin-large_8xb8_cub_384px',
            'swin_transformer/swin-large_8xb8_cub-384px',
        ),
        (
            'beitv2/beitv2-base-p16_8xb64_in1k',
            'beitv2/benchmarks/beit-base-p16_8xb64_in1k',
        ),
        (
            'mixmim/mixmim-base_8xb64_in1k',
            'mixmim/benchmarks/mixmim-base_8xb64_in1k',
        ),
        # Not renamed.
        ('resnet/resnet18_8xb32_in1k', 'resnet/resnet18_8xb32_in1k'),
    ],
)
def test_renamed_configs_are_found(old, new, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = 'mmcls::{old}.py'")
    model = get_config(f'mmpretrain::{new}.py').model
    assert get_config(f'mmcls::{old}.py').model == model
    assert Config.fromfile(path).model == {**model, '_scope_': 'mmpretrain'}


def test_unknown_configs_are_reported_as_they_were_named():
    with pytest.raises(Exception, match='nothing_in1k'):
        get_config('mmcls::resnet/nothing_in1k.py')


def test_mmrazor_builds_on_mmpretrain_for_mmcls(scope):
    import mmpretrain.models
    from mmrazor.models.task_modules.demo_inputs import DefaultMMClsDemoInput

    for name, base in (
        ('SearchableImageClassifier', 'ImageClassifier'),
        ('SearchableMobileNetV2', 'BaseBackbone'),
        ('AttentiveMobileNetV3', 'BaseBackbone'),
        ('SearchableShuffleNetV2', 'BaseBackbone'),
        ('AutoformerBackbone', 'BaseBackbone'),
        ('DeiTClsHead', 'VisionTransformerClsHead'),
        ('DartsSubnetClsHead', 'LinearClsHead'),
        ('DynamicLinearClsHead', 'ClsHead'),
    ):
        bases = [cls.__name__ for cls in MODELS.get(name).__mro__]
        assert base in bases and 'PlaceHolder' not in bases, name
    loss = MODELS.build(dict(type='KDSoftCELoss', tau=2.0))
    student, teacher = torch.randn(2, 4, 10)
    expected = torch.nn.functional.cross_entropy(
        student / 2, (teacher / 2).softmax(1)
    )
    torch.testing.assert_close(
        loss(student, teacher), expected * 4, rtol=1e-5, atol=1e-6
    )
    # An import within a function, of what is called otherwise today.
    model = get_model('mmcls::resnet/resnet18_8xb16_cifar10.py')
    data = DefaultMMClsDemoInput().get_data(model, [2, 3, 8, 8])
    sample = data['data_samples'][0]
    assert type(sample) is mmpretrain.structures.DataSample
    assert sample.gt_label.tolist() == [1]


def test_crd_packs_as_mmpretrain_does():
    import numpy as np
    from mmrazor.registry import TRANSFORMS

    packing = TRANSFORMS.build(dict(type='mmrazor.PackCRDClsInputs'))
    packed = packing(
        dict(
            img=np.zeros((4, 4, 3), np.uint8),
            gt_label=3,
            contrast_sample_idxs=np.arange(5),
            sample_idx=7,
        )
    )
    sample = packed['data_samples']
    assert sample.gt_label.tolist() == [3]
    assert sample.sample_idx == 7


def test_methods_that_recorders_replace(scope):
    from mmrazor.registry import TASK_UTILS

    recorder = TASK_UTILS.build(
        dict(
            type='MethodOutputsRecorder',
            source='mmcls.models.heads.ClsHead._get_loss',
        )
    )
    from mmpretrain.models.heads import ClsHead

    assert recorder.imported_class is ClsHead


def test_custom_imports_of_a_config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("custom_imports = dict(imports=['mmcls.models'])")
    Config.fromfile(path)
    path.write_text("custom_imports = dict(imports=['mmcls.nothing'])")
    with pytest.raises(ImportError, match='mmcls.nothing'):
        Config.fromfile(path)
    path.write_text("custom_imports = dict(imports='mmcls_of_mine')")
    with pytest.raises(ImportError, match='mmcls_of_mine'):
        Config.fromfile(path)


@pytest.mark.parametrize(
    'old, new',
    [
        (
            'from mmcls.structures import ClsDataSample',
            'from mmpretrain.structures import DataSample as ClsDataSample',
        ),
        (
            'from mmcls.datasets import PackClsInputs as P, to_tensor',
            'from mmpretrain.datasets import PackInputs as P, '
            'to_tensor as to_tensor',
        ),
        (
            'from mmcls import models',
            'from mmpretrain import models as models',
        ),
        ('import mmcls', 'import mmpretrain, mmpretrain as mmcls'),
        ('import mmcls.models as m, os', 'import mmpretrain.models as m, os'),
        (
            'import os, mmcls.structures.cls_data_sample',
            'import os, mmpretrain.structures.data_sample, '
            'mmpretrain as mmcls',
        ),
        ('from .mmcls import a', 'from .mmcls import a'),
        ('from . import mmcls', 'from . import mmcls'),
        ('from mmclsx.a import ToPIL', 'from mmclsx.a import ToPIL'),
        ('import mmclsx, os.mmcls', 'import mmclsx, os.mmcls'),
    ],
)
def test_imports_of_mmrazor(old, new):
    for text in ('{}', 'def f():\n    {}', 'try:\n    {}\nfinally:\n    a'):
        tree = mmcls._Imports().visit(ast.parse(text.format(old)))
        assert ast.unparse(tree) == ast.unparse(ast.parse(text.format(new)))


def test_mmrazors_code_is_as_it_was_otherwise(monkeypatch):
    import mmrazor.models.losses.kd_soft_ce_loss as module

    assert 'from mmcls' in inspect.getsource(module)
    # Lines in tracebacks are those of the file.
    code = module.KDSoftCELoss.forward.__code__
    lines = inspect.getsource(module).splitlines()
    assert 'def forward' in lines[code.co_firstlineno - 1]
    # Not by way of a cache, which MMRazor without this package would read.
    assert not Path(module.__cached__).exists() or (
        b'mmpretrain' not in Path(module.__cached__).read_bytes()
    )
    seen = []
    monkeypatch.setattr(builtins, 'abs', seen.append)
    exec('abs(1)', vars(module))
    assert seen == [1]


def test_to_others_mmcls_stays_unknown(tmp_path, monkeypatch):
    import mmrazor.models.losses.kd_soft_ce_loss as module

    assert importlib.util.find_spec('mmcls') is None
    assert not mmengine.utils.is_installed('mmcls')
    for name in ('mmcls', 'mmcls.models', 'mmcls.structures'):
        with pytest.raises(ModuleNotFoundError, match='mmcls'):
            importlib.import_module(name)
        with pytest.raises(ModuleNotFoundError, match='mmcls'):
            exec(f'import {name}', vars(module))
        with pytest.raises(ModuleNotFoundError, match='mmcls'):
            pickle.loads(f'c{name}\nClsHead\n.'.encode())
    # Whatever their module is called.
    for name in ('mine', 'mmrazor_of_mine', 'mmpretrain_of_mine'):
        (tmp_path / f'{name}.py').write_text('from mmcls import models')
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match='mmcls'):
            importlib.import_module(name)
    assert not [name for name in sys.modules if name.startswith('mmcls')]


def test_mmrazor_must_not_be_imported_before(python):
    printed = python(
        """
        import mmrazor.datasets
        for _ in '12':
            try:
                import csd_mmrazor
            except ImportError as error:
                print(error)
        """
    )
    lines = printed.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith('mmrazor.datasets.transforms.formatting was')
        assert 'import csd_mmrazor before mmrazor' in line


def test_a_folder_called_mmcls_is_not_mmcls(tmp_path, python):
    """As MMRazor's own configs and tests have them."""
    (tmp_path / 'mmcls').mkdir()
    printed = python(
        f"""
        import sys
        sys.path.append({str(tmp_path)!r})
        import csd_mmrazor
        print(csd_mmrazor.compat.in_force()['read_mmcls_as_mmpretrain'])
        """
    )
    assert printed.split()[-1] == 'True'

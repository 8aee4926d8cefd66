# Copyright (c) csd_mmrazor developers. All rights reserved.
import sys

import pytest
from mmengine.config import Config

from csd_mmrazor.utils.named_code import check_names

CODE = 'from os import system\ndef make():\n    return 1\n'


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Checks a part of a run's config; with files of the user and the run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / 'run')
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/net_of_run.py').write_text('raise KeyError')
    (tmp_path / 'run/mmdet').mkdir()
    (tmp_path / 'run/mmdet/__init__.py').write_text('raise KeyError')
    (tmp_path / 'net_of_user.py').write_text(CODE)
    (tmp_path / 'runs/1').mkdir(parents=True)
    (tmp_path / 'runs/1/net_of_run.py').write_text('raise KeyError')
    roots = [tmp_path / 'run', tmp_path / 'runs/1']
    yield lambda **part: check_names(
        Config(dict(model=[part], **part)), 'run/config.py', roots
    )
    sys.modules.pop('net_of_user', None)


@pytest.mark.parametrize(
    'part',
    [
        dict(type='os.system'),
        dict(type='posix.system'),
        dict(type='builtins.exec'),
        dict(type='subprocess.Popen'),
        dict(type='mmpretrain.get_model'),
        dict(type='torch.load'),
        dict(type='net_of_user.system'),
        dict(type='csd_mmrazor.utils.write_file'),
        dict(ema_type='os.system'),
        dict(constructor='os.system'),
        dict(factory='os.system'),
        dict(factory='torch.hub.load'),
        dict(factory='timm.models.load_state_dict'),
        dict(factory=f'{sys.modules["os"].__file__}:system'),
        dict(factory='net_of_run.Net'),
        dict(factory='run/net_of_run.py:Net'),
        dict(type='net_of_run'),
        dict(type='net_of_run.Net'),
        dict(_scope_='net_of_run'),
        dict(custom_imports=dict(imports='net_of_run')),
        dict(custom_imports=dict(imports=['net_of_run.a'])),
        dict(custom_imports=dict(imports=['runs.1.net_of_run'])),
        dict(factory='runs.1.net_of_run.Net'),
        dict(type='runs.1.net_of_run.Net'),
        dict(_scope_='runs.1'),
        dict(type='MethodOutputs', source='net_of_run.Net.forward'),
        dict(type='FunctionOutputs', source='runs.1.net_of_run.make'),
        dict(type='MethodOutputs', method_path='net_of_run.Net.forward'),
        dict(type='FunctionOutputs', func_path='runs.1.net_of_run.make'),
        dict(tracer=dict(skipped_methods=['net_of_run.Net.forward'])),
        dict(tracer=dict(skipped_methods='net_of_run.Net.forward')),
        dict(quantizer=dict(no_observer_modules=('net_of_run.Net',))),
        dict(qconfig=dict(object_type=[['net_of_run.Net', dict()]])),
        dict(backend_args=dict(backend='memcached', sys_path='elsewhere')),
        dict(cfg_path='run/net_of_run.py'),
        dict(cfg_path='mmdet::a/net_of_run.py'),
        dict(cfg_path='mmpretrain::../../net_of_run.py'),
        dict(cfg_path='mmpretrain::/net_of_run.py'),
        dict(trust_remote_code=True),
    ],
    ids=repr,
)
def test_what_is_not_called(check, part):
    with pytest.raises(ValueError, match='If you trust it, .*run/config.py'):
        check(**part)


@pytest.mark.parametrize(
    'part',
    [
        dict(type='ImageClassifier'),
        dict(type='mmrazor.CSDDistillation'),
        dict(type='mmpretrain.models.ImageClassifier'),
        dict(type='mmengine.hooks.CheckpointHook'),
        dict(type='mmengine.dataset.utils.pseudo_collate'),
        dict(type='torch.optim.SGD'),
        dict(type='torch.nn.BatchNorm2d'),
        dict(type='torchvision/ToTensor'),
        dict(type='package_that_is_gone.Part'),
        dict(factory='torchvision.models.resnet18'),
        dict(factory='torchvision.models.resnet.resnet18'),
        dict(factory='torchvision.models.get_model'),
        dict(factory='torchvision.models.ResNet'),
        dict(factory='timm.create_model'),
        dict(factory='timm.models.resnet18'),
        dict(factory='torch.nn.Linear'),
        dict(factory='lent:student'),
        dict(factory='net_of_user.make'),
        dict(factory='net_of_user.py:make'),
        dict(factory='gone.py:make'),
        dict(custom_imports=dict(imports=['net_of_user', 'csd_mmrazor'])),
        dict(type='ModuleOutputs', source='layer4.1.conv'),
        dict(type='ModuleOutputs', source='run.layer4'),
        dict(type='mmrazor.ParameterRecorder', source='run.weight'),
        dict(type='MethodOutputs', source='mmpretrain.models.Mixup.mix'),
        dict(type='MethodOutputs', method_path='net_of_user.Net.forward'),
        dict(type='FunctionOutputs', func_path='torch.nn.functional.dropout'),
        dict(quantizer=dict(no_observer_modules=['torch.nn.Linear'])),
        dict(source=None),
        dict(cfg_path='net_of_user.py'),
        dict(cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py'),
        dict(trust_remote_code=False),
    ],
    ids=repr,
)
def test_what_runs_need(check, part):
    check(**part)

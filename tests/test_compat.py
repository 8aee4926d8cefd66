# Copyright (c) csd_mmrazor developers. All rights reserved.
import collections
import os
import pickle
import pkgutil
import subprocess
import sys
import textwrap
import uuid
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from helpers import ROOT, TIMEOUT, build, network
from mmengine.config import Config
from mmengine.hub import get_config, get_model
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

from csd_mmrazor import compat


def python(code, **env):
    """Run code in a new interpreter; returns what it printed."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)],
        env=dict(os.environ, PYTHONPATH=str(ROOT), **env),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_mmrazor_registers_all_modules_in_a_new_process():
    printed = python("""
        import csd_mmrazor
        from mmrazor.utils import register_all_modules
        register_all_modules()
        from mmrazor.registry import MODELS
        print(all(MODELS.get(name) for name in (
            'DAFLDataFreeDistillation', 'ConfigurableDistiller',
            'CSDDistillation', 'CSDGenerator')))
        """)
    assert printed.split()[-1] == 'True'


def test_what_few_use_is_imported_when_used():
    printed = python("""
        import builtins, sys
        usual = builtins.__import__
        import csd_mmrazor
        assert builtins.__import__ is usual
        for name in 'scipy.stats', 'sklearn.tree', 'matplotlib.pyplot':
            assert name not in sys.modules

        from mmrazor.models.distillers import ofd_distiller
        print(ofd_distiller.norm.cdf(1.0))
        from mmrazor.models.task_modules.predictor import metric_predictor
        print(metric_predictor.stats.kendalltau([1, 2, 3], [1, 3, 2])[0])
        from mmrazor.models.task_modules.predictor.handler import (
            carts_handler as carts)
        tree = carts.DecisionTreeRegressor().fit([[0.0], [1.0]], [2.0, 3.0])
        print(tree.predict([[1.0]])[0])
        from mmrazor.visualization import local_visualizer
        print(type(local_visualizer.plt.figure()).__name__)
        """)
    *numbers, kind = printed.split()[-4:]
    assert [float(n) for n in numbers] == pytest.approx([0.841345, 1 / 3, 3])
    assert kind == 'Figure'


def test_what_is_there_already_is_not_deferred():
    printed = python("""
        import scipy.stats
        import csd_mmrazor
        from mmrazor.models.task_modules.predictor import metric_predictor
        print(metric_predictor.stats is scipy.stats)
        """)
    assert printed.split()[-1] == 'True'


def test_a_second_apply_changes_nothing():
    train_step = MODELS.get('DataFreeDistillation').train_step
    compat.apply()
    assert MODELS.get('DataFreeDistillation').train_step is train_step


@pytest.mark.parametrize('missing', ['joblib', 'mmcv'])
def test_says_which_package_is_missing(missing):
    printed = python(f"""
        import sys
        sys.modules['{missing}'] = None  # as if it were not installed
        try:
            import csd_mmrazor
        except ImportError as error:
            print(error)
        """)
    assert f'pip install {missing}' in printed.replace('"', '')


def test_says_which_version_is_off(monkeypatch):
    monkeypatch.setitem(compat._SUPPORTED, 'mmrazor', ('2.0', '3.0'))
    with pytest.raises(ImportError, match=r'mmrazor>=2.0,<3.0, but mmrazor 1'):
        compat.check_versions()


@pytest.mark.parametrize('name', ['TorchNativeQuantizer', 'TensorRTQuantizer'])
def test_quantization_says_what_it_needs(name):
    if not isinstance(
        sys.modules['mmrazor.structures.quantization.backend_config'].__spec__,
        type(None),
    ):
        pytest.skip('this torch can quantize')
    with pytest.raises(NotImplementedError, match='torch 1.13 only'):
        build(dict(type=name, global_qconfig=dict()))
    from mmrazor.structures.quantization import BackendConfigs

    with pytest.raises(NotImplementedError, match='torch 1.13 only'):
        BackendConfigs['native']


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


def test_nothing_is_installed_unasked(tmp_path):
    """A ``python`` that only takes notes comes first in the path."""
    notes = tmp_path / 'notes'
    fake = tmp_path / 'python'
    fake.write_text(f'#!/bin/sh\necho "$@" >> {notes}\n')
    fake.chmod(0o755)
    path = f'{tmp_path}:{os.environ["PATH"]}'
    printed = python(
        """
        import csd_mmrazor
        from mmengine.hub import get_config, get_model
        for function in (get_config, get_model):
            try:
                function('mmdet3d::some/config.py')
            except ModuleNotFoundError as error:
                print(error)
        get_config('mmcls::resnet/resnet18_8xb16_cifar10.py')
        """,
        PATH=path,
    )
    assert printed.count('pip install mmdet3d') == 2
    assert not notes.exists()


def test_without_setuptools_and_distutils():
    printed = python("""
        import sys
        for name in ('pkg_resources', 'distutils'):
            sys.modules[name] = None  # as if it were not installed
        import csd_mmrazor
        from mmengine.hub import get_config
        from mmengine.runner.runner import collect_env
        cfg = get_config('mmpretrain::resnet/resnet18_8xb16_cifar10.py')
        from mmengine.utils import is_installed
        print(cfg.dataset_type, is_installed('mmrazor'),
              is_installed('mmdet3d'), 'PyTorch' in collect_env())
        """)
    assert printed.split()[-4:] == ['CIFAR10', 'True', 'False', 'True']


def test_remedies_are_inert_where_the_cause_is_absent(monkeypatch):
    from mmengine.dist import utils
    from mmengine.model import MMDistributedDataParallel

    before = utils._init_dist_pytorch, MMDistributedDataParallel.__init__
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    compat.launch_without_cuda()
    assert before == (
        utils._init_dist_pytorch,
        MMDistributedDataParallel.__init__,
    )

    import mmengine.hub

    get = mmengine.hub.get_config
    monkeypatch.setattr(compat, 'find_spec', lambda name: object())
    compat.read_mmcls_as_mmpretrain()
    compat.find_packages_without_setuptools()
    compat.report_environment_without_distutils()
    compat.require_joblib()
    assert mmengine.hub.get_config is get


def test_mmengine_checkpoints_load_and_nothing_else(tmp_path):
    hub = MessageHub.get_instance('checkpoint')
    hub.update_scalar('train/loss', 1.5)
    for name, value in dict(
        a=np.float64(2), b=np.arange(3), c=np.int64(3), d=np.bool_(True)
    ).items():
        hub.update_info(name, value)
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(message_hub=hub.state_dict(), x=torch.ones(2)), path)
    loaded = CheckpointLoader.load_checkpoint(str(path))
    buffer = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer) and buffer.mean() == 1.5
    assert loaded['message_hub']['runtime_info']['b'].tolist() == [0, 1, 2]


def test_configs_are_formatted_once_until_they_change(monkeypatch):
    import mmengine.config.config as module

    calls = []
    format_code = module.FormatCode

    def spy(*args, **kwargs):
        calls.append(1)
        return format_code(*args, **kwargs)

    monkeypatch.setattr(module, 'FormatCode', spy)
    cfg = Config(dict(a=1, b=dict(c=uuid.uuid4().hex)))
    first = cfg.pretty_text
    assert cfg.pretty_text == first and len(calls) == 1
    cfg.b.c = 'new'
    assert "c='new'" in cfg.pretty_text and len(calls) == 2


class Runs:
    """Unpickling this runs a command."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'function, args',
    [
        (os.system, ('touch {}',)),
        (eval, ('open("{}", "w")',)),
        (getattr, (os, 'system')),
        (getattr, (HistoryBuffer, '__init__')),
    ],
)
def test_other_pickles_are_refused(tmp_path, function, args):
    trace = tmp_path / 'trace'
    args = [a.format(trace) if isinstance(a, str) else a for a in args]
    path = tmp_path / 'evil.pth'
    if function is getattr and args[0] is os:
        args[0] = Runs(__import__, 'os')
    torch.save(dict(state_dict=Runs(function, *args)), path)
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        CheckpointLoader.load_checkpoint(str(path))
    assert not trace.exists()


def data_free(name, **kwargs):
    """A data-free algorithm of MMRazor with small networks."""
    recorder = dict(logits=dict(type='ModuleOutputs', source='head.fc'))
    of_teacher = dict(logits=dict(type='ModuleOutputs', source='t.head.fc'))
    mapping = dict(
        s_feature=dict(from_student=True, recorder='logits'),
        t_feature=dict(from_student=False, recorder='logits'),
    )

    def distiller(weight):
        return dict(
            type='ConfigurableDistiller',
            student_recorders=recorder,
            teacher_recorders=of_teacher,
            distill_losses=dict(
                loss_l1=dict(type='L1Loss', loss_weight=weight)
            ),
            loss_forward_mappings=dict(loss_l1=mapping),
        )

    return build(
        dict(
            type=name,
            architecture=network(channels=3),
            teachers=dict(t=dict(build_cfg=network(channels=3))),
            generator=dict(
                type='DAFLGenerator',
                img_size=8,
                latent_dim=16,
                hidden_channels=8,
            ),
            distiller=distiller(1.0),
            generator_distiller=distiller(-1.0),
            **kwargs,
        )
    )


@pytest.mark.parametrize(
    'name', ['DataFreeDistillation', 'DAFLDataFreeDistillation']
)
def test_data_free_algorithms_train_in_one_process(name):
    model = data_free(name)
    wrappers = {
        key: OptimWrapper(
            torch.optim.SGD(model._modules[key].parameters(), lr=0.1)
        )
        for key in ('architecture', 'generator')
    }
    seen = []
    update = wrappers['architecture'].update_params

    def spy(loss):
        seen.append([p.grad for p in model.student.parameters()])
        update(loss)

    wrappers['architecture'].update_params = spy
    before = [p.detach().clone() for p in model.generator.parameters()]
    from mmpretrain.structures import DataSample

    data = dict(
        inputs=[torch.zeros(3, 8, 8) for _ in range(4)],
        data_samples=[DataSample().set_gt_label(0) for _ in range(4)],
    )
    for _ in range(2):
        log_vars = model.train_step(data, OptimWrapperDict(**wrappers))
    assert all(
        np.isfinite(float(value.detach())) for value in log_vars.values()
    )
    # The generator learns, and its pass leaves nothing on the student.
    assert any(
        not torch.equal(a, b)
        for a, b in zip(before, model.generator.parameters())
    )
    assert len(seen) == 2
    assert all(grad is None for grads in seen for grad in grads)
    assert 'module' not in vars(model.generator)


def test_teachers_stay_out_of_checkpoints(tmp_path, teacher_file):
    single = dict(
        type='SingleTeacherDistill',
        architecture=network(),
        teacher=network(base_channels=8),
        distiller=dict(type='ConfigurableDistiller'),
    )
    without_file = build(single).state_dict()
    assert any(key.startswith('teacher.') for key in without_file)

    model = build(dict(single, teacher_ckpt=str(teacher_file)))
    state_dict = model.state_dict()
    assert any(key.startswith('architecture.') for key in state_dict)
    assert not any(key.startswith('teacher.') for key in state_dict)
    path = tmp_path / 'run.pth'
    torch.save(dict(state_dict=state_dict), path)
    load_checkpoint(model, str(path), strict=True)
    assert model.load_state_dict(state_dict).missing_keys == []
    # A checkpoint that has the teacher (MMRazor's published ones) loads too.
    model.load_state_dict(without_file)
    assert all(
        torch.equal(value, without_file[f'teacher.{key}'])
        for key, value in model.teacher.state_dict().items()
    )


def test_teachers_of_data_free_distillation_stay_out(teacher_file):
    def keys(**teacher):
        model = build(
            dict(
                type='DataFreeDistillation',
                architecture=network(),
                teachers=dict(
                    t=dict(build_cfg=network(base_channels=8), **teacher)
                ),
                generator=dict(
                    type='DAFLGenerator',
                    img_size=8,
                    latent_dim=16,
                    hidden_channels=8,
                ),
                distiller=dict(type='ConfigurableDistiller'),
                generator_distiller=dict(type='ConfigurableDistiller'),
            )
        )
        return {key.split('.')[0] for key in model.state_dict()}

    assert 'teachers' in keys()
    assert keys(ckpt_path=str(teacher_file)) == {'architecture', 'generator'}


@pytest.fixture
def local_config(tmp_path, monkeypatch):
    """A teacher's config in the folder that one starts in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'nets').mkdir()
    (tmp_path / 'nets/base.py').write_text(f'model = {network()!r}\n')
    (tmp_path / 'nets/small.py').write_text(
        "_base_ = './base.py'\n"
        "default_scope = 'mmpretrain'\n"
        'data_preprocessor = dict(mean=[77.9], std=[95.9])\n'
        'model = dict(backbone=dict(base_channels=6, stem_channels=6),'
        ' head=dict(in_channels=12))\n'
    )
    return 'nets/small.py'


def test_models_of_local_configs(local_config, tiny_config, tmp_path):
    """mmrazor issue 460."""
    for path in (local_config, str(tmp_path / local_config)):
        model = build(dict(cfg_path=path, pretrained=False))
        assert model.backbone.conv1.out_channels == 6
        assert model.data_preprocessor.mean.item() == pytest.approx(77.9)
    # Further arguments go to the model, as they do with packages.
    train_cfg = dict(augments=dict(type='Mixup', alpha=1.0))
    model = build(dict(cfg_path=local_config, train_cfg=train_cfg))
    assert model.data_preprocessor.batch_augments is not None
    assert get_config(local_config).model.head.in_channels == 12
    # As teacher and as student of a whole algorithm.
    torch.save(model.state_dict(), 'teacher.pth')
    cfg = tiny_config().model
    cfg.architecture = dict(cfg_path=local_config)
    cfg.teachers.teacher = dict(
        build_cfg=dict(cfg_path=local_config), ckpt_path='teacher.pth'
    )
    algorithm = build(cfg)
    assert algorithm.aux_head.in_channels == 12
    for name, value in algorithm.teachers['teacher'].state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


def test_packages_configs_still_go_by_their_package():
    model = build(
        dict(cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py')
    )
    assert type(model.backbone).__name__ == 'ResNet_CIFAR'


@pytest.mark.parametrize(
    'path, options, error, message',
    [
        ('nets/gone.py', {}, FileNotFoundError, 'gone.py is not a config'),
        (
            'nets/small.py',
            dict(pretrained=True),
            ValueError,
            'local config, which names no weights: set pretrained=False',
        ),
        ('empty.py', {}, ValueError, 'empty.py has no model='),
    ],
)
def test_local_configs_that_cannot_be_built(
    local_config, tmp_path, path, options, error, message
):
    (tmp_path / 'empty.py').write_text('a = 1\n')
    with pytest.raises(error, match=message):
        build(dict(cfg_path=path, **options))


@pytest.mark.parametrize(
    'cfg, message',
    [
        (dict(type='CSDLos'), 'CSDLos is not in .*ed are mmrazor.CSDLoss'),
        (dict(type='mmpretrain.ResNetCIFAR'), 'mmpretrain.ResNet_CIFAR'),
        # Others of its kind, where nothing is spelt alike.
        (dict(type='NonsenseLoss'), 'mmrazor.KLDivergence|mmrazor.L2Loss'),
        (dict(type='Qqqqq'), 'No registered name is like it'),
        # Within another part.
        (
            dict(network(), head=dict(type='LinearClsHed')),
            'LinearClsHed is not in .* mmpretrain.LinearClsHead',
        ),
    ],
)
def test_types_that_are_not_registered(cfg, message):
    with pytest.raises(KeyError, match=message) as error:
        build(cfg)
    assert str(error.value).count('Registered are') <= 1


def test_other_key_errors_are_left_alone():
    with pytest.raises(KeyError, match='must contain the key "type"'):
        build(dict(a=1))


# Config of a classifier with in-place layers at three depths: below the root,
# in an mmcv ConvModule, and in a list.
def inplace_network(**backbone):
    return dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        backbone=dict(type='MobileNetV2', widen_factor=0.1, **backbone),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=10, in_channels=1280),
    )


@pytest.mark.parametrize('cfg', [network(), inplace_network()])
@pytest.mark.parametrize(
    'name', ['SingleTeacherDistill', 'DataFreeDistillation', 'CSDDistillation']
)
def test_no_layer_works_in_place(name, cfg):
    parts = dict(
        type=name,
        architecture=cfg,
        distiller=dict(type='ConfigurableDistiller'),
    )
    if name == 'SingleTeacherDistill':
        parts['teacher'] = cfg
    else:
        parts['teachers'] = dict(t=dict(build_cfg=cfg))
    if name == 'DataFreeDistillation':
        parts.update(
            generator=dict(
                type='DAFLGenerator',
                img_size=8,
                latent_dim=16,
                hidden_channels=8,
            ),
            generator_distiller=dict(type='ConfigurableDistiller'),
        )
    if name == 'CSDDistillation':
        parts['teachers']['t']['ckpt_path'] = 'none'
        channels = cfg['backbone'].get('in_channels', 3)
        parts['image_shape'] = (channels, 32, 32)
    model = build(parts)
    networks = {'architecture', 'teacher', 'teachers'}
    layers = [
        (layer_name, layer)
        for layer_name, layer in model.named_modules()
        if layer_name.split('.')[0] in networks and hasattr(layer, 'inplace')
    ]
    assert len(layers) > 8
    assert [n for n, layer in layers if layer.inplace] == []


def test_in_place_layers_stay_where_they_are_wanted():
    model = build(
        dict(
            type='SingleTeacherDistill',
            architecture=network(),
            module_inplace=True,
            teacher=network(),
            teacher_module_inplace=True,
            distiller=dict(type='ConfigurableDistiller'),
        )
    )
    assert model.student.backbone.relu.inplace
    assert model.teacher.backbone.relu.inplace


def test_ofd_trains_on_what_is_before_its_relus():
    """MMRazor's own config, against plain networks and formulas."""
    cfg = get_config(
        'mmrazor::distill/mmcls/ofd/'
        'ofd_backbone_resnet50_resnet18_8xb16_cifar10.py'
    ).model
    cfg.teacher_ckpt = None
    model = build(cfg)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.normal_(layer.bias)
    # The margins are those of the BN layers' weights.
    model.distiller.init_ofd_connectors(model.teacher)
    model.train()
    images = torch.randn(4, 3, 16, 16)
    samples = [DataSample().set_gt_label(label) for label in range(4)]
    found = model.loss(images, samples)

    places = ('layer2.0.bn1', 'layer3.0.bn1', 'bn1')
    seen = {}
    for name, net in (('s', model.student), ('t', model.teacher)):
        twin = MODELS.build(cfg['architecture' if name == 's' else 'teacher'])
        twin.load_state_dict(net.state_dict())
        twin.train(name == 's')
        for place in places:
            twin.backbone.get_submodule(place).register_forward_hook(
                lambda _, args, out, key=(name, place): seen.__setitem__(
                    key, out.detach().clone()
                )
            )
        twin(images, mode='tensor')
    for index, (place, weight) in enumerate(zip(places, (0.25, 0.5, 1)), 1):
        connectors = model.distiller.connectors
        ours = connectors[f'loss_{index}_sfeat'](seen['s', place])
        margin = connectors[f'loss_{index}_tfeat'].margin
        theirs = seen['t', place].maximum(margin)
        counted = (ours > theirs) | (theirs > 0)
        expected = weight * ((ours - theirs) ** 2)[counted].sum() / 4 / 1000
        torch.testing.assert_close(
            found[f'distill.loss_{index}'], expected, rtol=1e-4, atol=1e-5
        )
        assert (theirs < 0).any()  # which no output of a ReLU is


def test_sequentials_become_dynamic():
    from mmengine.model import Sequential
    from mmrazor.models.architectures.dynamic_ops import DynamicSequential

    plain = Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    dynamic = DynamicSequential.convert_from(plain)
    assert list(dynamic.pure_modules()) == list(plain)
    assert {*plain.state_dict()} <= {*dynamic.state_dict()}


@pytest.mark.parametrize(
    'remedy, cls, method',
    [
        (
            compat.record_before_inplace_layers,
            'mmrazor.models.algorithms.base.BaseAlgorithm',
            'set_module_inplace_false',
        ),
        (
            compat.convert_sequentials_of_dicts,
            'mmrazor.models.architectures.dynamic_ops.DynamicSequential',
            'convert_from',
        ),
    ],
)
def test_what_works_is_not_replaced(remedy, cls, method, monkeypatch):
    cls = pkgutil.resolve_name(cls)
    if remedy is compat.convert_sequentials_of_dicts:
        # As torch has it before 2.5.
        monkeypatch.setattr(collections, 'OrderedDict', dict)
    before = vars(cls)[method]
    remedy()
    assert vars(cls)[method] is before


def test_yaml_names_no_functions(tmp_path):
    import mmengine

    path = tmp_path / 'a.yml'
    path.write_text('a: [1, {b: c}]')
    assert mmengine.load(path) == dict(a=[1, dict(b='c')])
    path.write_text(f'a: !!python/object/apply:os.mkdir [{tmp_path}/PWNED]')
    for read in (mmengine.load, Config.fromfile):
        with pytest.raises(Exception, match='could not determine a constr'):
            read(path)
    assert not (tmp_path / 'PWNED').exists()


def test_texts_of_configs_are_not_run(tmp_path):
    code = f"a=__import__('os').mkdir('{tmp_path}/PWNED')"
    with pytest.raises(ValueError, match='text of a config is not run: line'):
        Config.fromstring(code, '.py')
    assert not (tmp_path / 'PWNED').exists()
    cfg = Config(dict(a=1, b=dict(c=[2])))
    assert Config.fromstring(cfg.pretty_text, '.py').b.c == [2]
    assert Config.fromstring('{"a": 1}', '.json').a == 1


def test_remedies_say_whether_they_were_needed():
    """Each that looks for its cause reports what it found."""
    found = compat.in_force()
    # MMRazor 1.0 always lacks these two, and torch 2.6 the third.
    assert found['keep_teachers_out_of_checkpoints']
    assert found['write_checkpoints_whole']
    assert found['import_without_quantization']
    # Those that depend on what is installed agree with it.
    for name, is_right in (
        ('launch_without_cuda', torch.cuda.is_available()),
        ('find_packages_without_setuptools', bool(find_spec('pkg_resources'))),
        ('report_environment_without_distutils', bool(find_spec('distutils'))),
        ('read_mmcls_as_mmpretrain', bool(find_spec('mmcls'))),
        (
            'convert_sequentials_of_dicts',
            isinstance(torch.nn.Module()._modules, collections.OrderedDict),
        ),
    ):
        assert found[name] is not is_right, name
    # A caller's copy is its own.
    compat.in_force().clear()
    assert compat.in_force() == found

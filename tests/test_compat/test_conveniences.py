# Copyright (c) csd_mmrazor developers. All rights reserved.
import copy
import uuid

import pytest
import torch
from helpers import build, network
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.visualization import Visualizer

from csd_mmrazor.compat import conveniences


def test_what_few_use_is_imported_when_used(python, tiny_config, tmp_path):
    """A run reaches its first step without it."""
    tiny_config().dump(cfg_file := tmp_path / 'config.py')
    printed = python(f"""
        import builtins, sys
        usual = builtins.__import__
        from csd_mmrazor.cli import train
        assert builtins.__import__ is usual

        class FirstStep(Exception):
            pass

        def make(self, *args, **kwargs):
            raise FirstStep

        from csd_mmrazor.engine import SynthesisHook
        SynthesisHook._make = make
        sys.argv = ['train.py', {str(cfg_file)!r}, '--no-rehearsal']
        try:
            train.main()
        except FirstStep:
            seldom = (
                'scipy sklearn joblib matplotlib jinja2 pkg_resources '
                'setuptools onnx pandas')
            print('loaded:', *{{*seldom.split()}} & {{*sys.modules}}, 'end')

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
    assert 'loaded: end' in printed
    *numbers, kind = printed.split()[-4:]
    assert [float(n) for n in numbers] == pytest.approx([0.841345, 1 / 3, 3])
    assert kind == 'Figure'


def test_what_is_there_already_is_not_deferred(python):
    printed = python("""
        import scipy.stats
        import csd_mmrazor
        from mmrazor.models.task_modules.predictor import metric_predictor
        print(metric_predictor.stats is scipy.stats)
        """)
    assert printed.split()[-1] == 'True'


def test_figures_are_made_when_used():
    """And are those of the original, whatever a visualizer starts with."""

    class Sketch(Visualizer):
        def __init__(self, name, image=None, **kwargs):
            super().__init__(name, image, **kwargs)
            self.fig_show_cfg = dict(frameon=True)

        def _initialize_fig(self, fig_cfg):
            made.append(fig_cfg)
            return super()._initialize_fig(fig_cfg)

    original = Visualizer.__init__.__wrapped__
    image = (torch.rand(12, 20, 3) * 255).byte().numpy()
    pixels = []
    for given in None, image:
        for initialize in Visualizer.__init__, original:
            made = []
            visualizer = Sketch.__new__(Sketch)
            initialize(visualizer, uuid.uuid4().hex, given)
            lazy = given is None and initialize is not original
            assert len(made) == (not lazy)
            visualizer.set_image(image)
            visualizer.draw_bboxes(torch.tensor([2, 3, 9, 8]))
            assert made == [dict(frameon=False)]
            assert visualizer.dpi == visualizer.fig_save.get_dpi()
            pixels.append(torch.from_numpy(visualizer.get_image()))
    assert pixels[0].float().std() > 0
    assert all(torch.equal(pixels[0], other) for other in pixels)

    made = []
    sketch = Sketch('sketch', fig_save_cfg=dict(figsize=(2, 3)))
    assert not made and 'ax_save' not in vars(sketch)
    assert [*sketch.fig_save.get_size_inches()] == [2, 3]
    assert sketch.ax_save.figure is sketch.fig_save
    with pytest.raises(AttributeError, match="'Sketch' .* 'fig_saved'"):
        _ = sketch.fig_saved
    assert copy.copy(sketch).ax_save is sketch.ax_save


def test_configs_are_found_without_metafiles(monkeypatch):
    from mmengine.config import utils

    before = utils.load.cache_info()
    for name in (
        'resnet/resnet18_8xb16_cifar10.py',
        '_base_/default_runtime.py',
    ):
        path, _ = Config._get_cfg_path(f'mmpretrain::{name}', '')
        assert path.endswith(f'mmpretrain/.mim/configs/{name}')
    assert utils.load.cache_info() == before
    with pytest.raises(FileNotFoundError, match='nothing_like_it'):
        Config._get_cfg_path('mmpretrain::resnet/nothing_like_it.py', '')
    # One that is elsewhere than its name says.
    elsewhere = dict(Config='.mim/configs/resnet/resnet18_8xb32_in1k.py')
    monkeypatch.setattr(utils, '_get_cfg_metainfo', lambda *_: elsewhere)
    path, _ = Config._get_cfg_path('mmpretrain::resnet/18', '')
    assert path.endswith(f'mmpretrain/{elsewhere["Config"]}')


def test_metafiles_are_read_once():
    from mmengine.config import utils

    name = 'mmpretrain::_base_/schedules/cifar10_bs128.py'
    read = []
    for _ in '12':
        get_config('mmpretrain::resnet/resnet18_8xb16_cifar10.py')
        path, scope = Config._get_cfg_path(name, '')
        assert path.endswith('schedules/cifar10_bs128.py')
        read.append(utils.load.cache_info().misses)
    assert scope == 'mmpretrain'
    assert read[0] == read[1] > 0


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
        ('twice.py', {}, ValueError, "a dict has 'a' twice"),
    ],
)
def test_local_configs_that_cannot_be_built(
    local_config, tmp_path, path, options, error, message
):
    (tmp_path / 'empty.py').write_text('a = 1\n')
    (tmp_path / 'twice.py').write_text("b = {'a': 1, 'a': 2}\n")
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
        # As a config has them, and of another registry than what has them.
        (
            dict(
                type='ConfigurableDistiller',
                student_recorders=dict(a=dict(type='ModuleOutput')),
            ),
            'ModuleOutput is not .* custom_imports. .*mmrazor.ModuleOutputs,',
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


def test_all_of_them_are_turned_off_by_a_variable(python, local_config):
    """And the repairs stay."""
    printed = python(
        """
        import sys
        import csd_mmrazor
        from csd_mmrazor import compat
        from mmengine.config import Config
        from mmrazor.registry import MODELS

        names = set(compat.in_force())
        handy = {
            'build_from_local_configs', 'explain_unknown_types',
            'format_configs_once', 'read_metafiles_once',
            'make_figures_when_used', 'say_where_no_checkpoint_is',
        }
        assert not names & handy, names
        assert 'load_checkpoints_safely' in names
        assert 'matplotlib.pyplot' in sys.modules
        for cfg in dict(type='CSDLos'), dict(cfg_path='nets/small.py'):
            try:
                MODELS.build(cfg)
            except Exception as error:
                print(str(error).replace('\\n', ' '))
        cfg = Config(dict(a=1))
        assert cfg.pretty_text is not cfg.pretty_text
        from mmrazor.models.distillers import ofd_distiller
        from scipy.stats import norm
        assert ofd_distiller.norm is norm
        assert type(MODELS.build(dict(type='CSDLoss'))).__name__ == 'CSDLoss'
        print('all')
        """,
        CSD_MMRAZOR_CONVENIENCES='0',
    )
    assert printed.split()[-1] == 'all'
    assert 'CSDLos is not in' in printed
    assert 'Registered are' not in printed
    assert 'is not a config file' not in printed


@pytest.mark.parametrize(
    'value, found', [(None, True), ('1', True), ('0', False)]
)
def test_the_variable(monkeypatch, value, found):
    monkeypatch.delenv(conveniences.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(conveniences.VARIABLE, value)
    assert conveniences.are_on() is found


def test_another_value_is_refused(monkeypatch):
    monkeypatch.setenv(conveniences.VARIABLE, 'no')
    with pytest.raises(ValueError, match="CONVENIENCES .* 0 or 1, .* 'no'"):
        conveniences.are_on()

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Configs of networks that a program made, and may have pruned since."""

import copy
import importlib
import importlib.util

import pytest
import timm
import torch
import torchvision
from torch import nn

from csd_mmrazor.api.networks import (
    about_lent,
    copied,
    get_network,
    proven,
)
from csd_mmrazor.api.recipes import _guesses, makes
from csd_mmrazor.models.utils import narrow

CODE = """
import torch
from torch import nn
from torch.nn.utils import parametrizations


class Narrowable(nn.Module):
    def __init__(self, width=16, normed=False):
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.last = nn.Conv2d(width, width, 3)
        self.fc = nn.Linear(width, 4)
        self.table, self.rate = torch.ones(1), torch.zeros(1)
        if normed:
            parametrizations.weight_norm(self.last)

    def forward(self, x):
        x = self.last(self.norm(self.first(x)).relu())
        return self.fc(x.relu().mean((2, 3)) * self.table)
"""
ODD = """
import dataclasses

import torch
from narrowable_nets import Narrowable


class Settings:
    def __init__(self, p=0.0):
        self.p = p


@dataclasses.dataclass(frozen=True)
class Found:
    logits: torch.Tensor
    hidden: torch.Tensor


class Dataclassed(Narrowable):
    def forward(self, x):
        return Found(2 * super().forward(x), x)


class Configured(Narrowable):
    def __init__(self, settings=None):
        super().__init__()
        self.settings = settings or Settings()


class Fussy(Narrowable):
    def __init__(self, type='a', factory='b', init_cfg=None, _scope_='d',
                 fill=float('nan'), limit=float('inf'), depth=1):
        super().__init__()
        self.type, self.factory, self._scope_ = type, factory, _scope_
        self.init_cfg, self.fill, self.limit = init_cfg, fill, limit

    @property
    def depth(self):
        raise RuntimeError('not known')


class Quiet(Narrowable):
    def train(self):
        return super().train()
"""
IMAGES = torch.randn(2, 3, 32, 32)


@pytest.fixture
def net(tmp_path, monkeypatch):
    (tmp_path / 'narrowable_nets.py').write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(
        importlib.sys.modules, 'narrowable_nets', raising=False
    )
    return importlib.import_module('narrowable_nets').Narrowable


@pytest.fixture
def odd(net, tmp_path, monkeypatch):
    (tmp_path / 'odd_nets.py').write_text(ODD)
    monkeypatch.delitem(importlib.sys.modules, 'odd_nets', raising=False)
    return importlib.import_module('odd_nets')


def pruned(net, left, layers=('first', 'norm'), last='last'):
    """A copy of which the first layer has lost channels."""
    shapes = {k: [*v.shape] for k, v in net.state_dict().items()}
    for key, shape in shapes.items():
        if key.startswith(tuple(f'{layer}.' for layer in layers)) and shape:
            shape[0] = left
    shapes[f'{last}.weight'][1] = left
    return narrow(copy.deepcopy(net), shapes)


def test_what_was_pruned_in_memory(net):
    whole = get_network(net(20), 'teacher')
    student = pruned(whole.module, 6)
    found = get_network(student, 'student', whole=whole)
    assert found.note == '' and found.build_cfg['network'] == whole.build_cfg
    assert found.build_cfg['shapes']['net.first.weight'] == [6, 3, 3, 3]
    assert makes(found.build_cfg, student.eval(), IMAGES)
    # What is no network of the teacher's is made of itself.
    alone = get_network(net(6), 'student', whole=whole)
    assert alone.build_cfg['width'] == 6
    # Nor does it take a teacher, where the defaults are wider.
    alone = get_network(pruned(net(), 6), 'teacher')
    assert alone.build_cfg['network']['width'] == 16
    # Pruned again.
    again = get_network(pruned(student, 3), 'student', whole=found)
    assert again.build_cfg['network'] == whole.build_cfg


def test_a_teacher_without_a_name_is_the_culprit(net):
    teacher = net(20)
    teacher.fc.register_forward_hook(lambda *_: None)
    whole = get_network(teacher, 'teacher')
    student = pruned(teacher, 6)
    found = get_network(student, 'student', whole=whole)
    assert 'it was pruned from the teacher, which cannot be' in found.note
    told = about_lent(dict(teacher=whole, student=found))
    assert 'give teacher="FILE.py:Name"' in told and 'likewise' not in told
    assert 'replace "lent:teacher" and "lent:student" in' in told
    # What is narrower, but has weights of its own, has a reason of its own.
    other = net(6)
    other.fc.register_forward_hook(lambda *_: None)
    found = get_network(other, 'student', whole=whole)
    assert 'make the same of it (fc._forward_hooks)' in found.note


def test_what_is_made_has_to_compute_the_same(net):
    """The values of a tensor that is no weight are not looked at before."""
    student = net()
    same = get_network(student, 'student')
    assert proven(same, copied(student, 'student'), IMAGES, 'student') == same
    for student in (net(), pruned(net(), 6)):
        student.table = torch.full([1], 2.0)
        found = get_network(student, 'student')
        assert not found.note
        lent = proven(found, copied(student, 'student'), IMAGES, 'student')
        assert lent.build_cfg['factory'] == 'lent:student'
        assert 'computes something else, and so it will of' in lent.note
        # Then student.pth is not the student.
        told = about_lent(dict(teacher=found, student=lent))
        assert told.startswith('This run and the same call again')


def test_what_a_pass_leaves_in_an_attribute(net, monkeypatch):
    """A class that keeps a map is as good as others."""
    forward = net.forward

    def kept(self, x):
        self.map = self.first(x)
        return forward(self, x)

    monkeypatch.setattr(net, 'forward', kept)
    found, copy = get_network(net(), 'student'), copied(net(), 'student')
    copy(IMAGES + 1)
    assert proven(found, copy.eval(), IMAGES, 'student') is found


def test_what_returns_a_dataclass(odd):
    student = odd.Dataclassed()
    found = get_network(student, 'student')
    assert (
        proven(found, copied(student, 'student'), IMAGES, 'student') is found
    )
    assert not found.note


def test_settings_that_no_config_can_hold(odd):
    """Only the values of the default can be made again."""
    assert get_network(odd.Configured(), 'student').note == ''
    found = get_network(odd.Configured(odd.Settings(0.9)), 'student')
    assert found.note.startswith('student (Configured) cannot be made')
    assert 'make the same of it (settings)' in found.note


def test_arguments_that_no_config_can_say(odd):
    """They are left at their defaults, if these are what a network has."""
    found = get_network(odd.Fussy(), 'student')
    assert set(found.build_cfg) == {'type', 'factory', 'depth'}
    assert makes(found.build_cfg, odd.Fussy().eval(), IMAGES)
    for name in ('type', 'factory', 'init_cfg', '_scope_', 'fill', 'limit'):
        other = odd.Fussy(**{name: float('-inf')})
        assert f'({name})' in get_network(other, 'student').note


@pytest.mark.parametrize('kept', ['type', 'factory', 'init_cfg', '_scope_'])
def test_names_that_configs_keep_are_refused_as_arguments(odd, kept):
    with pytest.raises(ValueError, match=f'student_args with {kept!r}'):
        get_network(f'{odd.__file__}:Fussy', 'student', None, 4, {kept: 'x'})


def test_a_model_of_mmpretrain_gets_no_other_type():
    with pytest.raises(ValueError, match="teacher_args with 'type'"):
        get_network('resnet18_8xb16_cifar10', 'teacher', None, 9, {'type': 1})


@pytest.mark.parametrize('made_by', ['file', 'mmpretrain'])
def test_names_of_arguments_are_texts(odd, made_by):
    spec = f'{odd.__file__}:Fussy'
    if made_by == 'mmpretrain':
        spec = 'resnet18_8xb16_cifar10'
    with pytest.raises(TypeError, match='student_args has 1 for the name of'):
        get_network(spec, 'student', None, 4, {1: 8})


def test_train_has_to_take_a_mode(odd):
    with pytest.raises(ValueError, match='train.. that takes no mode, in Qu'):
        get_network(odd.Quiet(), 'student')


def test_files_are_not_run_again(net, tmp_path):
    """Those of namespace packages, or that a program loaded by a path."""
    file = tmp_path / 'ends_the_program.py'
    file.write_text(
        'from narrowable_nets import Narrowable\n'
        'class Net(Narrowable): pass\n'
        'if __name__ != "loaded": raise SystemExit("usage")\n'
    )
    spec = importlib.util.spec_from_file_location('loaded', file)
    code = importlib.util.module_from_spec(spec)
    importlib.sys.modules['loaded'] = code
    spec.loader.exec_module(code)
    try:
        assert 'imported as loaded' in get_network(code.Net(), 'student').note
    finally:
        del importlib.sys.modules['loaded']
    with pytest.raises(ValueError, match='SystemExit: usage'):
        get_network(f'{file}:Net', 'student')


def test_graphs_have_no_class(net):
    module, images = net().eval(), torch.randn(2, 3, 8, 8)
    graph = torch.fx.symbolic_trace(module)
    for each in (graph, torch.export.export(module, (images,))):
        note = get_network(each, 'teacher').note
        assert 'graphs of torch.export and torch.fx have no class' in note


def test_a_class_in_no_file(net):
    made = {'__name__': 'nowhere', 'Base': net}
    exec('class Net(Base): pass', made)
    found = get_network(made['Net'](), 'student')
    assert 'its class is in no file' in found.note


def test_parametrized_layers(net):
    student = net(normed=True)
    found = get_network(student, 'student')
    assert found.build_cfg['normed'] is True
    assert makes(found.build_cfg, student.eval(), IMAGES)


def test_of_packages():
    """By the function of torchvision that made it, or timm's own note."""
    net = torchvision.models.resnet18()
    net.fc = nn.Linear(512, 7)
    found = get_network(net, 'teacher')
    assert found.build_cfg['factory'] == 'torchvision.models.resnet.resnet18'
    assert found.build_cfg['num_classes'] == 7
    student = pruned(net, 9, ('layer1.0.conv1', 'layer1.0.bn1'), LAST)
    found = get_network(student, 'student', whole=found)
    assert makes(found.build_cfg, student.eval(), IMAGES)
    net = timm.create_model('resnet10t', num_classes=7)
    found = get_network(net, 'teacher').build_cfg
    assert (found['model_name'], found['num_classes']) == ('resnet10t', 7)


def test_functions_of_a_package_come_before_guessed_arguments():
    """Those of a ViT made so many layers that it took minutes."""
    net = torchvision.models.VisionTransformer(32, 16, 1, 2, 8, 8)
    first = next(_guesses(net, None))['factory']
    assert first == 'torchvision.models.vision_transformer.vit_b_16'


def test_tensors_that_eval_mode_does_not_read(net):
    student = net().eval()
    found = get_network(student, 'student').build_cfg
    assert makes(found, student, IMAGES)
    student.rate = torch.ones(1)
    assert not makes(found, student, IMAGES)


LAST = 'layer1.0.conv2'

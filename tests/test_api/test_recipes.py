# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Configs of networks that a program made, and may have pruned since."""

import copy
import importlib

import pytest
import timm
import torch
import torchvision
from torch import nn

from csd_mmrazor.api.networks import copied, get_network, proven
from csd_mmrazor.api.recipes import makes
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
        self.table = torch.ones(1)
        if normed:
            parametrizations.weight_norm(self.last)

    def forward(self, x):
        x = self.last(self.norm(self.first(x)).relu())
        return self.fc(x.relu().mean((2, 3)) * self.table)
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
    assert 'give teacher="FILE.py:Name"' in found.note


def test_what_is_made_has_to_compute_the_same(net):
    """A tensor that is no weight is not looked at before."""
    student = net()
    same = get_network(student, 'student')
    assert proven(same, copied(student, 'student'), IMAGES, 'student') == same
    for student in (net(), pruned(net(), 6)):
        student.table = torch.full([1], 2.0)
        found = get_network(student, 'student')
        assert not found.note
        lent = proven(found, copied(student, 'student'), IMAGES, 'student')
        assert lent.build_cfg['factory'] == 'lent:student'
        assert 'computes something else' in lent.note


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


LAST = 'layer1.0.conv2'

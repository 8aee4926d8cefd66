# Copyright (c) csd_mmrazor developers. All rights reserved.
import inspect
import os
import signal
import sys
import uuid
from copy import deepcopy
from pathlib import Path
from types import ModuleType

import mmrazor
import pytest
import torch
from helpers import build, equal, network
from mmengine.config import Config
from mmengine.utils import get_installed_path, is_installed
from mmengine.utils.dl_utils import collect_env


def test_nothing_is_installed_unasked(python, tmp_path):
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


def test_without_setuptools_and_distutils(python):
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


def test_where_they_are_there_they_are_not_loaded(monkeypatch, tmp_path):
    """A folder of the name of a package is none, as with pkg_resources."""
    (tmp_path / 'mmdet3d').mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, 'pkg_resources', None)
    assert get_installed_path('mmrazor') == str(Path(mmrazor.__file__).parent)
    assert is_installed('mmrazor') and not is_installed('mmdet3d')
    with pytest.raises(RuntimeError, match='mmdet3d is a namespace package'):
        get_installed_path('mmdet3d')

    loaded = ModuleType('distutils')
    loaded.errors = ModuleType('errors')
    for there in None, loaded:
        monkeypatch.setitem(sys.modules, 'distutils', there)
        report = collect_env()
        assert 'PyTorch' in report
        assert sys.modules.pop('distutils', None) is there


@pytest.mark.parametrize('outputs', [dict(log_vars=1), [], (), [1, 2]])
def test_validation_takes_what_has_no_losses(outputs):
    from mmengine.runner import loops

    assert loops._update_losses(outputs, {}) == (outputs, {})


def test_validation_takes_losses_from_the_last_output():
    from mmengine.runner import loops
    from mmengine.structures import BaseDataElement

    outputs = [1, BaseDataElement(loss=dict(loss=torch.tensor(2.0)))]
    rest, losses = loops._update_losses(outputs, {})
    assert rest == [1] and losses['loss'].current() == 2


@pytest.mark.parametrize(
    'number, raised',
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)],
)
def test_a_signal_while_a_config_is_formatted(monkeypatch, number, raised):
    """It ends what it is to end, and is no fault of the config."""
    handler = signal.default_int_handler
    if number == signal.SIGTERM:

        def handler(*_):
            sys.exit(3)

    def interrupted(*_, **__):
        os.kill(os.getpid(), number)

    before = signal.signal(number, handler)
    monkeypatch.setattr('mmengine.config.config.FormatCode', interrupted)
    cfg = Config(dict(a=uuid.uuid4().hex))
    try:
        with pytest.raises(raised) as info:
            cfg.pretty_text  # noqa: B018
    finally:
        signal.signal(number, before)
    assert 'syntax' not in str(info.value)
    monkeypatch.undo()
    assert cfg.a in cfg.pretty_text  # nothing is kept of the attempt


def test_a_config_that_cannot_be_formatted(monkeypatch):
    def refuse(*_, **__):
        raise ValueError('no Python')

    monkeypatch.setattr('mmengine.config.config.FormatCode', refuse)
    with pytest.raises(SyntaxError, match='Failed to format'):
        Config(dict(a=uuid.uuid4().hex)).pretty_text  # noqa: B018


@pytest.mark.parametrize('suffix', ['py', 'yaml', 'json'])
def test_a_config_keeps_its_order(suffix, tmp_path):
    """Of teachers, the first is the one that students are compared with."""
    teachers = dict(teacher=dict(z=1, b=2), a=dict(c=[dict(y=1, x=2)]))
    path = tmp_path / f'config.{suffix}'
    Config(dict(model=dict(teachers=teachers), a={'b.c': 1})).dump(path)
    found = Config.fromfile(path)
    assert [*found] == ['model', 'a']
    teachers, expected = found.model.teachers, teachers
    assert str(teachers.to_dict()) == str(expected)


def test_where_mmengine_keeps_the_order_nothing_is_done():
    from mmengine.config import config

    from csd_mmrazor.compat import mmengine

    # As it is here by now.
    before = config.sorted
    assert mmengine.keep_order_of_configs() is False
    assert config.sorted is before


@pytest.mark.parametrize('where', ['backbone', ['backbone.layer1', 'head']])
def test_activations_are_checkpointed_and_nothing_else_changes(where):
    """Images have no gradient, and BN layers see them once."""
    from mmengine.runner import runner

    built = build(network())
    plain, model = deepcopy(built), built
    runner.turn_on_activation_checkpointing(model, where)
    # As one for validation, which computes with its own weights.
    copied = deepcopy(model)
    passes = []
    model.backbone.layer1.register_forward_hook(lambda *_: passes.append(1))
    images = torch.rand(8, 1, 8, 8)
    for each in (plain, model):
        each.train()
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            each(images, mode='tensor').square().sum().backward()
            optimizer.step()
    assert len(passes) == (4 if where == 'backbone' else 2)
    assert equal(model.state_dict(), plain.state_dict())
    assert not equal(model.state_dict(), copied.state_dict())
    for each in (plain, model, copied):
        each.eval()
    images.requires_grad_()
    expected, found, before = (
        each(images, mode='tensor') for each in (plain, model, copied)
    )
    assert torch.equal(expected, found)
    assert not torch.equal(expected, before)
    gradients = [
        torch.autograd.grad(logits.sum(), images)[0]
        for logits in (expected, found)
    ]
    assert torch.equal(*gradients)


def test_checkpointed_layers_whose_bn_would_be_fused():
    from mmengine.model.efficient_conv_bn_eval import (
        turn_on_efficient_conv_bn_eval,
    )
    from mmengine.runner import runner

    model = build(network()).train()
    runner.turn_on_activation_checkpointing(model, 'backbone.layer1')
    with pytest.raises(ValueError, match='leave them out of one'):
        turn_on_efficient_conv_bn_eval(model, 'backbone')


def test_arguments_by_name_of_what_is_checkpointed():
    from mmengine.runner import runner

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, x, scale=1):
            return (self.weight * x * scale).sum()

    model = torch.nn.ModuleDict(dict(part=Scaled()))
    runner.turn_on_activation_checkpointing(model, 'part')
    model.part(torch.ones(2), scale=2).backward()
    assert model.part.weight.grad == 4
    assert [*inspect.signature(model.part.forward).parameters] == [
        'x',
        'scale',
    ]


def test_bn_layers_that_follow_no_layer_are_not_fused():
    from mmengine.runner import runner

    net = build(dict(type='WideResNet', depth=10, num_stages=2)).eval()
    images = torch.rand(2, 3, 8, 8)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
    expected = net(images)
    called = []
    for name, module in net.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(lambda *_, n=name: called.append(n))
    runner.turn_on_efficient_conv_bn_eval(net, 'layer1')
    torch.testing.assert_close(net(images), expected)
    assert 'layer1.0.bn1' in called and 'layer1.0.bn2' not in called

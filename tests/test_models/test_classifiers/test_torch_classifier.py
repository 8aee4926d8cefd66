# Copyright (c) csd_mmrazor developers. All rights reserved.
import re

import pytest
import torch
import torch.nn.functional as F
import torchvision
from helpers import ROOT, build
from mmengine.config import Config
from mmpretrain.structures import DataSample

from csd_mmrazor.models.utils import load_weights, pooled_features

FACTORY = 'torchvision.models.shufflenet_v2_x0_5'


def classifier(**kwargs):
    cfg = dict(type='TorchClassifier', factory=FACTORY, num_classes=10)
    return build(dict(cfg, **kwargs))


@pytest.fixture
def source(tmp_path):
    """A user's network with a life behind it, and its plain state dict."""
    torch.manual_seed(3)
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=10)
    net.train()(torch.randn(8, 3, 32, 32))
    torch.save(net.state_dict(), tmp_path / 'plain.pth')
    torch.save(dict(model=net.state_dict()), tmp_path / 'timm.pth')
    return net.eval()


@pytest.mark.parametrize('file', ['plain.pth', 'timm.pth'])
def test_plain_state_dicts_are_loaded(tmp_path, source, file):
    model = classifier().eval()
    load_weights(model, str(tmp_path / file), 'ckpt_path')
    inputs = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(inputs, mode='tensor'), source(inputs))
    # Its own as well, and within another module.
    other = torch.nn.ModuleDict(dict(teacher=classifier()))
    other.load_state_dict(
        {f'teacher.{k}': v for k, v in model.state_dict().items()}
    )
    assert torch.equal(other['teacher'].eval()(inputs), source(inputs))
    other = torch.nn.ModuleDict(dict(teacher=classifier()))
    other.load_state_dict(
        {f'teacher.{k}': v for k, v in source.state_dict().items()}
    )
    assert torch.equal(other['teacher'].eval()(inputs), source(inputs))


def test_weights_that_run_code_are_refused(tmp_path):
    import pickle

    torch.save(torchvision.models.resnet18, tmp_path / 'code.pth')
    with pytest.raises((pickle.UnpicklingError, ValueError)):
        load_weights(classifier(), str(tmp_path / 'code.pth'), 'ckpt_path')


class Fickle(torch.nn.Linear):
    """As networks of timm are: ``init_weights`` draws them again."""

    def init_weights(self):
        torch.nn.init.constant_(self.weight, 7)


def test_keeps_the_weights_that_the_factory_gives(monkeypatch):
    monkeypatch.setattr(torch.nn, 'Fickle', Fickle, raising=False)
    cfg = dict(type='TorchClassifier', in_features=2, out_features=3)
    model = build(dict(cfg, factory='torch.nn.Fickle'))
    before = model.net.weight.clone()
    model.init_weights()
    assert torch.equal(model.net.weight, before)


def test_wrappers_are_taken_off():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    cfg = dict(type='TorchClassifier', factory='torch.nn.DataParallel')
    assert build(dict(cfg, module=net)).net is net


def test_modes():
    model = classifier().eval()
    inputs = torch.randn(3, 3, 32, 32)
    logits = model(inputs)
    samples = [DataSample().set_gt_label(i) for i in (4, 0, 9)]
    loss = model(inputs, samples, mode='loss')['loss']
    expected = F.cross_entropy(logits, torch.tensor([4, 0, 9]))
    torch.testing.assert_close(loss, expected)
    predicted = model(inputs, samples, mode='predict')
    assert [s.pred_label.item() for s in predicted] == (
        logits.argmax(1).tolist()
    )
    torch.testing.assert_close(predicted[1].pred_score, logits[1].softmax(0))
    with pytest.raises(ValueError, match='but got .other'):
        model(inputs, mode='other')


def test_its_feature_is_what_the_last_layer_sees():
    model = classifier().eval()
    inputs = torch.randn(3, 3, 32, 32)
    features = pooled_features(model, inputs)
    assert features.shape == (3, 1024)
    torch.testing.assert_close(model.net.fc(features), model(inputs))
    assert not model.net.fc._forward_pre_hooks


def test_a_last_layer_that_is_called_by_name(monkeypatch):
    """By a network that runs in mixed precision, too."""

    class ByName(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(4, 5)

        def forward(self, inputs):
            with torch.autocast('cpu', torch.bfloat16):
                inputs = inputs.to(torch.bfloat16)
                return self.fc(input=inputs.mean(3).flatten(1))

    monkeypatch.setattr(torch.nn, 'ByName', ByName, raising=False)
    model = build(dict(type='TorchClassifier', factory='torch.nn.ByName'))
    features = pooled_features(model, torch.randn(3, 1, 4, 4))
    assert features.shape == (3, 4)
    assert features.dtype == torch.float32


def test_the_config_in_the_documentation(tmp_path, monkeypatch):
    """A user's own teacher, down to the losses of a step."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    source = torchvision.models.resnet34(num_classes=10).eval()
    torch.save(source.state_dict(), 'my_resnet34.pth')
    text = (ROOT / 'docs/your_networks.md').read_text()
    (config,) = re.findall(r'```python\n# my_config.py\n(.*?)```', text, re.S)
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    (tmp_path / 'config.py').write_text(config)
    algorithm = build(Config.fromfile('config.py').model)
    inputs = torch.randn(2, 3, 32, 32)
    teacher = algorithm.teachers['teacher']
    torch.testing.assert_close(teacher(inputs), source(inputs))
    losses = algorithm.train().loss(inputs, torch.tensor([1, 2]))
    assert losses['distill.loss_kd'] > 0
    assert losses['distill.loss_feature'] > 0
    mean = algorithm.data_preprocessor.mean.flatten().tolist()
    assert mean == pytest.approx([123.675, 116.28, 103.53])


@pytest.mark.parametrize(
    'factory, message',
    [
        ('torchvision.models.resnet17', "cannot be imported .*'resnet17'"),
        ('nonsense.resnet18', "cannot be imported .*'nonsense'"),
        ('resnet18', 'cannot be imported'),
        ('exits.Net', 'cannot be imported .SystemExit: usage'),
        ('nets_of_exits.make', r'ends the program \(SystemExit: 2\)'),
        ('nets_of_exits.model', r'a network already \(Linear\): name its'),
        ('torchvision.models', 'should be a function or class'),
        ('builtins.dict', 'return a torch.nn.Module, but got'),
        ('torch.nn.Scripted', 'returns a TorchScript network.*state dict'),
        ('torch.nn.Compiled', 'returns a compiled network'),
    ],
)
def test_what_is_no_factory(factory, message, monkeypatch, tmp_path):
    (tmp_path / 'exits.py').write_text('raise SystemExit("usage")')
    (tmp_path / 'nets_of_exits.py').write_text(
        'import sys\n\nfrom torch import nn\n\nmodel = nn.Linear(2, 2)\n\n\n'
        'def make():\n    sys.exit(2)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        'torch.nn.Scripted',
        lambda: torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)),
        raising=False,
    )
    monkeypatch.setattr(
        'torch.nn.Compiled',
        lambda: torch.nn.Sequential(torch.compile(torch.nn.Linear(2, 2))),
        raising=False,
    )
    with pytest.raises(ValueError, match=message):
        build(dict(type='TorchClassifier', factory=factory))


@pytest.mark.skipif(
    not hasattr(torch.nn.Module, 'compile'), reason='torch is too old'
)
def test_what_was_compiled_in_place_can_be_looked_at(tmp_path):
    file = tmp_path / 'compiled_in_place.py'
    file.write_text(
        'from torch import nn\n\n\n'
        'class Net(nn.Module):\n'
        '    def __init__(self):\n'
        '        super().__init__()\n'
        '        self.fc = nn.Linear(2, 3)\n'
        "        self.compile(backend='eager')\n\n"
        '    def forward(self, x):\n'
        '        return self.fc(x)\n'
    )
    model = build(dict(type='TorchClassifier', factory=f'{file}:Net'))
    inputs = torch.ones(1, 2)
    expected, seen = model(inputs), []
    # Compiled code takes none that comes after its first pass.
    model.net.fc.register_forward_hook(lambda *given: seen.append(given[-1]))
    assert torch.equal(model(inputs), expected)
    assert len(seen) == 1

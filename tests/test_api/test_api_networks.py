# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether a config can name a network, and what one pass finds in it."""

import importlib
import re
import threading

import mmpretrain
import pytest
import timm
import torch
import torchvision
from helpers import ROOT, Cached, network
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from csd_mmrazor.api import recipes
from csd_mmrazor.api.inputs import Inputs
from csd_mmrazor.api.networks import (
    about_lent,
    copied,
    get_network,
    trace,
)
from csd_mmrazor.api.pair import Pair, about
from csd_mmrazor.models.utils import pooled_features
from csd_mmrazor.utils.imports import LENT

CODE = '''
from torch import nn


class Silent(nn.Module):
    """It keeps none of its arguments."""

    def __init__(self, width=32, num_classes=10, depth=2, p=0.0):
        super().__init__()
        layers = [nn.Conv2d(3, width, 3)]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 1), nn.BatchNorm2d(width)]
        self.body = nn.Sequential(*layers)
        self.drop = nn.Dropout(p)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.fc(self.drop(self.body(x).mean((2, 3))))


class Needs(Silent):
    def __init__(self, width, num_classes):
        super().__init__(width, num_classes)


class Passes(Silent):
    def __init__(self, k=3, **more):
        super().__init__(num_classes=k, **more)

    @classmethod
    def small(cls):
        return cls(width=2)


def ends():
    raise SystemExit(2)


ready = Silent()
'''


@pytest.fixture
def code(tmp_path, monkeypatch):
    (tmp_path / 'silent_nets.py').write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(importlib.sys.modules, 'silent_nets', raising=False)
    return importlib.import_module('silent_nets')


def freeze(net):
    net.body[0].requires_grad_(False)


def attach(net):
    net.body[0].register_forward_hook(lambda *_: None)


def patch(net):
    net.forward = lambda x: net.fc(x.mean((2, 3)))


def replace_head(net):
    net.fc = nn.Sequential(net.fc)


def drop(net):
    net.drop.p = 0.5


@pytest.mark.parametrize(
    'make, arguments',
    [
        (lambda m: m.Silent(), dict(width=32, num_classes=10)),
        (lambda m: m.Silent(7), dict(width=7, num_classes=10)),
        (lambda m: m.Silent(7, 5), dict(width=7, num_classes=5)),
        (lambda m: m.Needs(6, 5), dict(width=6, num_classes=5)),
    ],
)
def test_networks_whose_arguments_are_found(make, arguments, code):
    net = make(code)
    state = torch.get_rng_state()
    found = get_network(net, 'teacher')
    assert found.note == '' and found.module is net
    assert {k: found.build_cfg[k] for k in arguments} == arguments
    file, name = found.build_cfg['factory'].split(':')
    assert file == code.__file__ and name == type(net).__name__
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize('change', [freeze, attach, patch, replace_head, drop])
def test_networks_that_were_changed(change, code):
    net = code.Silent()
    change(net)
    found = get_network(net, 'student')
    assert found.build_cfg['factory'] == f'{LENT}student'
    assert 'cannot be made from the config alone' in found.note
    if change is freeze:
        assert 'it (requires_grad of body.0.weight)' in found.note


def test_a_teacher_may_be_frozen(code):
    """It is not trained anyhow; a student of its name would be whole."""
    net = code.Silent(7)
    freeze(net)
    found = get_network(net, 'teacher')
    assert found.note == '' and found.build_cfg['width'] == 7


@pytest.mark.parametrize('role', ['teacher', 'student'])
def test_wrappers_are_taken_off(role, code):
    net = code.Silent(7)
    body = net.body
    net.body = nn.DataParallel(body)
    found = get_network(nn.DataParallel(net), role)
    assert found.note == '' and found.build_cfg['width'] == 7
    assert found.module.body[0].weight is body[0].weight
    assert [*found.module.state_dict()] == [*code.Silent(7).state_dict()]


@pytest.mark.parametrize('name', ['resnet_digits', 'wrn40-2_cifar10'])
def test_configs_of_this_project(name):
    """Whose models have a scope of their own."""
    spec = str(ROOT / f'configs/teachers/{name}.py')
    found = get_network(spec, 'teacher')
    assert found.module.head.num_classes == 10
    assert found.build_cfg['type'] == 'ImageClassifier' and not found.note


def test_weights_that_a_config_names_are_not_forgotten(tmp_path):
    """A run reads no such file: it has the weights of the call."""
    config, backbone = tmp_path / 'net.py', dict(type='ResNet_CIFAR', depth=18)
    pretrained = dict(type='Pretrained', checkpoint='/none/a.pth')
    backbone['init_cfg'] = [dict(type='Kaiming', layer='Conv2d'), pretrained]
    head = dict(type='LinearClsHead', num_classes=3, in_channels=512)
    neck = dict(type='GlobalAveragePooling')
    model = dict(
        type='ImageClassifier', backbone=backbone, neck=neck, head=head
    )
    for named in (model, dict(model, backbone=dict(backbone, init_cfg=None))):
        if named is not model:
            named['init_cfg'] = pretrained
        config.write_text(f'model = {named!r}')
        with pytest.raises(
            ValueError, match='names weights ./none/a.pth.* student_weights'
        ):
            get_network(str(config), 'student')
        net = mmpretrain.get_model(str(config), pretrained=False)
        weights = tmp_path / 'weights.pth'
        torch.save(net.state_dict(), weights)
        found = get_network(str(config), 'student', str(weights))
        assert 'Pretrained' not in repr(found.build_cfg)
        value = found.module.head.fc.weight
        assert torch.equal(value, net.head.fc.weight)
        # Nor of a network that has them already.
        found = get_network(net, 'student')
        assert not found.note and 'Pretrained' not in repr(found.build_cfg)


def test_a_model_of_a_registry_does_not_tell_how_it_was_made():
    config = dict(
        type='ImageClassifier', backbone=dict(type='ResNet_CIFAR', depth=18)
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        net = mmpretrain.registry.MODELS.build(config)
    note = get_network(net, 'teacher').note
    assert 'are not known (a model of mmpretrain tells them if' in note


def test_networks_of_packages_without_their_arguments():
    """torchvision's classes, of blocks that none of its functions makes."""
    resnet = torchvision.models.resnet
    net = resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1])
    found = get_network(net, 'teacher')
    assert found.build_cfg['factory'] == f'{LENT}teacher'
    # What a guess makes it raise says nothing.
    assert (
        'alone: the arguments that it was made with are not known.'
        in found.note
    )
    for networks in (dict(teacher=found), dict(teacher=found, student=found)):
        told = about_lent(networks)
        assert told.startswith('This run, the files that it leaves and the sa')
        assert 'train, test, export, quantize and estimate, refuse' in told
        assert 'teacher_weights' in told
        assert (', and student likewise' in told) is (len(networks) > 1)
    assert about_lent(dict(teacher=found._replace(note=''))) == ''


def test_few_guesses_are_made_with_memory(code, monkeypatch):
    """Some networks cannot be made without, and take a second each."""
    made = []

    def wrong(*_, **__):
        made.append(torch.empty(0).device.type)
        raise ValueError

    net = code.Silent(7, 5, 3)
    monkeypatch.setattr(recipes, 'import_object', lambda _: wrong)
    assert get_network(net, 'teacher').note
    assert made.count('cpu') == 10 < made.count('meta')


@pytest.mark.parametrize(
    'make, feature, width',
    [
        (lambda: torchvision.models.resnet18(num_classes=5), 'layer4', 512),
        (
            lambda: torchvision.models.mobilenet_v3_small(num_classes=5),
            'features',
            1024,
        ),
        (
            lambda: torchvision.models.squeezenet1_1(num_classes=5),
            'classifier.2',
            5,
        ),
        (lambda: torchvision.models.densenet121(num_classes=5), None, 1024),
        (
            lambda: timm.create_model('resnet10t', num_classes=5),
            'layer4',
            512,
        ),
        (
            lambda: timm.create_model(
                'vit_tiny_patch16_224', num_classes=5, img_size=64
            ),
            None,
            192,
        ),
        (
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 5)),
            None,
            3 * 64 * 64,
        ),
    ],
)
def test_what_a_pass_finds(make, feature, width):
    from csd_mmrazor.models.classifiers import TorchClassifier

    net = make()
    inputs = torch.randn(2, 3, 64, 64)
    found = trace(dict(factory='x'), net, inputs, 'student')
    assert found.num_classes == 5
    if feature is not None:
        assert found.feature == f'net.{feature}'
    if isinstance(net, nn.Sequential):
        assert found.feature is None
    model = TorchClassifier('torch.nn.Identity')
    model.net = net.eval()
    features = pooled_features(model, inputs, found.pooled)
    assert features.shape == (2, width)
    names = dict(model.named_modules())
    assert found.logits in names
    seen = []
    names[found.logits].register_forward_hook(
        lambda _, args, output: seen.append(output)
    )
    torch.testing.assert_close(seen[-1] if seen else None, None)
    logits = model(inputs)
    torch.testing.assert_close(seen[-1], logits)
    assert not net.training


class Reuses(nn.Module):
    """One layer pools twice, and another one makes logits twice."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(400, 5)

    def forward(self, x):
        x = self.pool(self.conv1(x).relu())
        x = self.pool(self.conv2(x).relu()).flatten(1)
        return self.fc(x.flip(1)) * 0 + self.fc(x)


def test_a_map_that_is_named_is_one():
    inputs = torch.randn(2, 3, 32, 32)
    with pytest.raises(ValueError, match="student_feature='pool' runs 2 ti"):
        trace(dict(factory='x'), Reuses(), inputs, 'student', 'pool')
    found = trace(dict(factory='x'), Reuses(), inputs, 'student', 'conv1')
    assert found.feature == 'net.conv1'


class OfRows(nn.Module):
    """Looks at the pixels of an image in one row."""

    def __init__(self, *last):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(3, 16, 9, 4, 4), *last)
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.body(x.flatten(2)).mean(2))


OTHERS = """
from torch import nn


class Counts(nn.Linear):
    def __init__(self, num_classes=5):
        super().__init__(4, num_classes)


class Calls(nn.Linear):
    def __init__(self, classes=5):
        super().__init__(4, classes)
"""


@pytest.mark.parametrize(
    'spec, how',
    [
        ('nets.py:Counts', r'student_args=dict\((num_classes=3)\)\.'),
        ('nets.py:Calls', None),
        ('config.py', r"student_args=dict\((head=\{'type': 'LinearC.*\})\)\."),
        ('resnet18_8xb16_cifar10', r'student_args=dict\((head=\{.*\})\)\.'),
    ],
)
def test_how_a_network_gets_the_classes_of_its_weights(spec, how, tmp_path):
    (tmp_path / 'nets.py').write_text(OTHERS)
    Config(dict(model=network(num_classes=5))).dump(tmp_path / 'config.py')
    given = str(tmp_path / spec) if '.py' in spec else spec
    state = get_network(given, 'student').module.state_dict()
    file = tmp_path / 'weights.pth'
    last = len(next(reversed(state.values())))
    torch.save(
        {
            key: value[:3] if value.shape[:1] == (last,) else value
            for key, value in state.items()
        },
        file,
    )
    with pytest.raises(ValueError, match='build it with num_cl') as error:
        get_network(given, 'student', file)
    found = re.search(how or 'It gets that by', f'{error.value}')
    assert bool(found) == bool(how)
    if how:  # and so it does
        arguments = eval(f'dict({found[1]})')
        get_network(given, 'student', file, arguments=arguments)


def test_how_a_teacher_of_mmpretrain_gets_the_classes_of_its_weights(
    tmp_path,
):
    name, file = 'resnet18_8xb16_cifar10', tmp_path / 'weights.pth'
    made = get_network(name, 'teacher', num_classes=3).module
    torch.save(made.state_dict(), file)
    with pytest.raises(ValueError, match=r'It gets that by classes=3\.'):
        get_network(name, 'teacher', file)
    get_network(name, 'teacher', file, 3)
    for number, said in ((7, 'classes says'), (10, 'the teacher has')):
        which = 'teacher' if number == 7 else 'student'
        with pytest.raises(ValueError, match=f'for {number} cl.*{said}'):
            get_network(name, which, file, number)


class Mixer(nn.Module):
    """An MLP-Mixer whose convolutions mix tokens, not their channels."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 8, 8)
        self.norm, self.mix = nn.LayerNorm(8), nn.Conv1d(16, 16, 1)
        self.last, self.fc = nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = x + self.mix(self.norm(x))
        return self.fc(self.last(x).mean(1))


@pytest.mark.parametrize(
    'make, size, feature, channels',
    [
        # Recorders would have what its pool returns first.
        (Reuses, 32, 'conv2', 16),
        # The last maps have one pixel, and those within blocks their channels
        # at the end.
        (
            lambda: torchvision.models.convnext_tiny(num_classes=5),
            32,
            'features.6.0',
            384,
        ),
        (lambda: torchvision.models.swin_t(num_classes=5), 64, 'permute', 768),
        (
            lambda: timm.create_model(
                'swin_tiny_patch4_window7_224',
                num_classes=5,
                img_size=64,
                window_size=2,
            ),
            64,
            None,
            0,
        ),
        # Its tokens make a square, but are not those of one.
        (
            lambda: timm.create_model(
                'vit_tiny_patch16_224', num_classes=5, img_size=(32, 128)
            ),
            (32, 128),
            None,
            0,
        ),
        # 16 channels are no 4 x 4 tokens.
        (OfRows, 32, None, 0),
        (lambda: OfRows(nn.BatchNorm1d(16), nn.ReLU()), 32, None, 0),
        (lambda: OfRows(nn.MaxPool1d(2), nn.ReLU()), 32, None, 0),
        (Mixer, 32, 'last', 8),
        # Its tokens make no square, and keys of attention are no map.
        (
            lambda: timm.create_model(
                'vit_tiny_patch16_224', num_classes=5, img_size=(32, 96)
            ),
            (32, 96),
            None,
            0,
        ),
    ],
)
def test_the_last_map_is_one_of_pixels(make, size, feature, channels):
    shape = size if isinstance(size, tuple) else (size, size)
    inputs = torch.randn(2, 3, *shape)
    found = trace(dict(factory='x'), make(), inputs, 'student')
    assert found.feature == (feature and f'net.{feature}')
    assert found.channels == channels


@pytest.mark.parametrize(
    'side, feature, is_missing',
    [(32, None, False), (96, None, True), (96, 'patch_embed.proj', False)],
)
def test_a_missing_map_is_told(side, feature, is_missing):
    """With what turns the loss of feature maps on, and why it is off."""
    size = (32, side)
    net = timm.create_model(
        'vit_tiny_patch16_224', num_classes=5, img_size=size, depth=1
    )
    images = Inputs((3, *size), (0.0,) * 3, (1.0,) * 3, 'as they are')
    names = ('teacher', 'student')
    networks = {name: get_network(net, name) for name in names}
    found = trace(
        *(dict(factory='x'), net, torch.randn(2, 3, *size), 'student'),
        feature,
    )
    pair = Pair(networks, {}, dict.fromkeys(names, found), [], [])
    told = '\n'.join(about(pair, images, None))
    for name in names:
        # Also of networks without tokens.
        said = (
            '(tokens, if it has any, are laid out as a map for square images '
            f'alone); {name}_feature names a module that'
        )
        assert (said in told) == is_missing
    assert ('no loss compares feature maps' in told) == is_missing


def small(*head, channels=3):
    """Up to a map of 8 channels, and a head of 5 classes."""
    head = head or (
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), *head)


class Odd(nn.Module):
    """A network with a forward of its own."""

    def __init__(self, forward, **attributes):
        super().__init__()
        self.net = small()
        self.weight = nn.Parameter(torch.randn(5, 3))
        self.run = forward
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.run(self, x)


class Stateful(nn.Linear):
    def state_dict(self):
        return super().state_dict()


class WithState(Odd):
    def get_extra_state(self):
        return dict(seen=3)


class Cosine(nn.Module):
    """A head whose linear layer is only looked at."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        return nn.functional.linear(self.body(x).mean((2, 3)), self.fc.weight)


@pytest.mark.parametrize(
    'make, width',
    [
        (Cosine, 8),
        # No module returns anything but the network itself.
        (lambda: Odd(lambda s, x: x.mean((2, 3)) @ s.weight.t()), 5),
        (lambda: small(nn.Conv2d(8, 5, 1), nn.AvgPool2d(6), nn.Flatten()), 5),
    ],
)
def test_heads_that_are_no_linear_layer(make, width):
    from csd_mmrazor.models.classifiers import TorchClassifier

    net, inputs = make(), torch.randn(2, 3, 8, 8)
    found = trace(dict(factory='x'), net, inputs, 'student')
    model = TorchClassifier('torch.nn.Identity')
    model.net = net
    features = pooled_features(model, inputs, found.pooled)
    assert features.shape == (2, width)


@pytest.mark.parametrize(
    'forward, layer',
    [(lambda s, x: s.net(x).mul_(3), ''), (lambda s, x: s.net(x), 'net.4')],
)
def test_logits_that_are_changed_after_their_layer(forward, layer):
    """A recorder of it would have them as they were."""
    found = trace({}, Odd(forward), torch.randn(2, 3, 8, 8), 'teacher')
    assert found.logits == layer


class Deep(nn.Module):
    """Returns more in training, as torchvision's GoogLeNet does."""

    def __init__(self, layer=True):
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3)
        self.fc, self.aux = nn.Linear(8, 5), nn.Linear(8, 5)
        self.layer = layer

    def forward(self, x):
        pooled = self.body(x).mean((2, 3))
        head = self.fc
        logits = head(pooled) if self.layer else pooled @ head.weight.t()
        return (logits, self.aux(pooled)) if self.training else logits


class Around(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(2 * x)


@pytest.mark.parametrize(
    'make, source',
    [
        (Deep, 'net.fc'),
        (lambda: Deep(layer=False), ''),
        (lambda: Around(Deep()), 'net.net.fc'),
        (lambda: Around(Deep(layer=False)), ''),
        (lambda: Around(Around(small())), 'net.net.net.4'),
    ],
)
def test_what_returns_more_in_training(make, source):
    from csd_mmrazor.models.classifiers import TorchClassifier

    net, inputs = make(), torch.randn(2, 3, 8, 8)
    found = trace(dict(factory='x'), net, inputs, 'student')
    assert found.logits == source
    model, seen = TorchClassifier('torch.nn.Identity'), []
    model.net = net
    model.get_submodule(found.logits).register_forward_hook(
        lambda _, args, output: seen.append(output)
    )
    for is_training in (True, False):
        torch.testing.assert_close(
            model.train(is_training)(inputs), seen[-1], rtol=0, atol=0
        )


def inferred():
    with torch.inference_mode():
        return small()


def with_sparse_buffer():
    net = small()
    net.register_buffer('sparse', torch.eye(3).to_sparse())
    return net


UNFIT = {
    'scripted': (lambda: torch.jit.script(small()), 'TorchScript'),
    'compiled': (lambda: torch.compile(small()), 'before torch.compile'),
    'lazy': (lambda: nn.Sequential(nn.LazyConv2d(5, 3)), 'lazy layers'),
    'meta': (lambda: small().to('meta'), 'device "meta"'),
    'sparse': (with_sparse_buffer, 'sparse tensors.*dense'),
    'none': (lambda: nn.Sequential(nn.Flatten()), 'no weights'),
    'state': (lambda: WithState(None), 'no tensor ._extra_state'),
    'state dict': (
        lambda: nn.Sequential(Stateful(2, 2)),
        r'state_dict\(\) of other arguments, in Stateful',
    ),
    'lock': (lambda: Odd(None, lock=threading.Lock()), 'cannot be copied'),
}


@pytest.mark.parametrize('role', ['teacher', 'student'])
@pytest.mark.parametrize('kind', UNFIT)
def test_networks_that_no_run_can_have(kind, role):
    make, message = UNFIT[kind]
    with pytest.raises(ValueError, match=f'^{role} .*{message}'):
        copied(get_network(make(), role).module, role)


def test_students_that_cannot_be_trained():
    frozen = small().requires_grad_(False)
    for net, message in ((frozen, 'no weight to train'), (inferred(), 'inf')):
        with pytest.raises(ValueError, match=message):
            get_network(net, 'student')
        assert get_network(net, 'teacher').module is net


def test_a_student_with_weights_tied_through_memory():
    """Which its copy would train apart."""
    net = small()
    net.register_buffer('tied', net[-1].weight.data)
    with pytest.raises(ValueError, match=r'^tied and 4\.weight of student'):
        copied(get_network(net, 'student').module, 'student')
    copied(get_network(net, 'teacher').module, 'teacher')


@pytest.mark.parametrize(
    'forward, message',
    [
        (lambda s, x: s.net(x.add_(1)), 'changes its inputs in place'),
        (lambda s, x: s.net(x).detach(), 'passes no gradient'),
        (lambda s, x: s.net((x * 9).round()), 'passes no .* and round'),
        (torch.no_grad()(lambda s, x: s.net(x)), 'passes no gradient'),
        (torch.inference_mode()(lambda s, x: s.net(x)), 'passes no gradient'),
        (lambda s, x: s.net(x) / 0, 'returns NaN or Inf'),
        (lambda s, x: s.net(x)[0], 'should return its logits'),
        (lambda s, x: dict(out=s.net(x)), 'should return its logits'),
        (lambda s, x: s.absent(x), 'does not take images'),
        (lambda s, x: s.net(x).softmax(1), 'returns probabilities'),
        (lambda s, x: s.net(x).sigmoid(), 'returns sigmoids .* before sigm'),
        (
            lambda s, x: s.net(x)[:, :1],
            r'one number for each image.*cat\(\[.*z\], 1\).* if z, without a',
        ),
        (
            lambda s, x: s.net(x)[:, :1].sigmoid(),
            'one number for each image.* where z is what comes before its si',
        ),
        (
            lambda s, x: s.net(x)[:, 0],
            r'one number for each image.*zeros_like\(z.unsqueeze\(1\)',
        ),
        (
            lambda s, x: s.net(x).argmax(1),
            r'one integer for .* leave out argmax',
        ),
        (
            lambda s, x: torch.cat(
                [torch.zeros(len(x), 1), s.net(x)[:, :1].sigmoid()], 1
            ),
            'returns sigmoids in place of logits',
        ),
        (
            lambda s, x: s.net(x.permute(0, 3, 1, 2)),
            r'It takes channels last, .* with x.permute\(0, 2, 3, 1\)',
        ),
        (
            lambda s, x: s.net(x).squeeze(),
            r'not a single .*\(5,\).* write fla',
        ),
        (
            lambda s, x: s.net(x + torch.randn_like(x)),
            'something else of the same images .* F.dropout',
        ),
        (
            lambda s, x: torch.nn.functional.dropout(s.net(x)),
            'something else of the same images .* F.dropout',
        ),
    ],
)
def test_what_a_pass_refuses(forward, message):
    net = Odd(forward).requires_grad_(False)
    with pytest.raises(ValueError, match=f'^teacher.*{message}'):
        trace(dict(factory='x'), net, torch.randn(2, 3, 8, 8), 'teacher')


@pytest.mark.filterwarnings('ignore')
def test_exported_graphs():
    """With BN layers; in eval mode, for any number of images."""
    images = torch.randn(4, 3, 8, 8)
    net = small(nn.BatchNorm2d(8), nn.Conv2d(8, 5, 6), nn.Flatten()).eval()
    sizes = ({0: torch.export.Dim('batch', min=2)},)
    program = torch.export.export(net, (images,), dynamic_shapes=sizes)
    for given in program, program.module():
        found = get_network(given, 'teacher').module
        traced = trace(dict(factory='x'), found, images[:3], 'teacher')
        assert traced.has_bn and not traced.has_functional_bn
    graph = program.module()
    traced = trace(dict(factory='x'), graph, images, 'teacher')
    assert traced.has_functional_bn and not traced.has_bn
    graph = torch.export.export(net, (images,)).module()
    with pytest.raises(ValueError, match='one batch size only: .*dynamic_sh'):
        trace(dict(factory='x'), graph, images[:3], 'teacher')
    graph = torch.export.export(net.train(), (images,)).module()
    with pytest.raises(ValueError, match='by the batch .* before torch.exp'):
        trace(dict(factory='x'), graph, images, 'teacher')


def test_a_teacher_whose_layers_pass_no_gradient_to_images():
    net = Odd(lambda s, x: s.net(x.detach()))
    images = torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match='^teacher passes no gradient'):
        trace(dict(factory='x'), net, images, 'teacher')


def test_a_student_that_returns_probabilities():
    net = Odd(lambda s, x: s.net(x).softmax(1))
    message = '^student .*returns probabilities .* the log of the prob'
    with pytest.raises(ValueError, match=message):
        trace(dict(factory='x'), net, torch.randn(2, 3, 8, 8), 'student')


def test_a_student_for_images_of_other_channels():
    message = (
        'student does not take .* Its first convolution, 0, takes 3 '
        'channels: replace it by one that takes 1; .*student="file.py:'
    )
    with pytest.raises(ValueError, match=message):
        trace(
            dict(factory='x'),
            Odd(lambda s, x: s.net(x)),
            torch.randn(2, 1, 8, 8),
            'student',
        )


@pytest.mark.parametrize(
    'forward, name, kind',
    [
        (lambda s, x: s.net(x), 'student', ''),
        (lambda s, x: s.net(x).log_softmax(1), 'student', 'log-probabilities'),
        (lambda s, x: s.net(x).log_softmax(1), 'teacher', 'log-probabilities'),
        (lambda s, x: 9 * s.net(x).sigmoid(), 'teacher', ''),
    ],
)
def test_what_is_returned_in_place_of_logits(forward, name, kind):
    net = Odd(forward)
    found = trace(dict(factory='x'), net, torch.randn(2, 3, 8, 8), name)
    assert found.outputs == kind


def test_a_model_of_mmpretrain_gets_the_number_of_classes():
    found = get_network('resnet18_8xb32_in1k', 'student', num_classes=7)
    assert found.module.head.fc.out_features == 7
    assert found.build_cfg['head']['num_classes'] == 7
    with pytest.raises(ValueError, match='timm.create_model with student_a'):
        get_network('mobilenetv3_small_050', 'student')


def test_what_takes_any_argument_may_not_take_the_number_of_classes(code):
    spec = 'silent_nets.Passes'
    found = get_network(spec, 'teacher', num_classes=3, arguments=dict(p=0.5))
    assert found.module.fc.out_features == 3
    assert 'num_classes' not in found.build_cfg
    found = get_network('silent_nets.Silent', 'teacher', num_classes=4)
    assert found.module.fc.out_features == 4
    with pytest.raises(ValueError, match="unexpected .*'q'"):
        get_network(spec, 'teacher', num_classes=3, arguments=dict(q=1))


@pytest.mark.parametrize(
    'within, message',
    [
        ('ready', r'is a network already \(Silent\): name its class'),
        ('ends', r'ends the program \(SystemExit: 2\)'),
        ('Passes.small', 'Passes.* For a method of a class, write a function'),
        ('Absent', "has no 'Absent'.* or a name of mmpretrain.$"),
    ],
)
@pytest.mark.parametrize('place', ['silent_nets.', '{}:'])
def test_what_makes_no_network(code, place, within, message):
    spec = f'{place.format(code.__file__)}{within}'
    for num_classes in (None, 3):
        with pytest.raises(ValueError, match=f'^teacher=.*{message}'):
            get_network(spec, 'teacher', num_classes=num_classes)


@pytest.mark.parametrize('name', ['teacher', 'student'])
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16', 'float64'])
def test_other_precisions_are_refused_by_name(name, dtype):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to(
        getattr(torch, dtype)
    )
    message = (
        rf'{name} \(Sequential\) has weights in torch.{dtype}, .*float\(\)'
    )
    with pytest.raises(ValueError, match=message):
        get_network(net, name)


@pytest.mark.parametrize('kept', [lambda maps: maps, lambda maps: [maps]])
def test_what_a_pass_left_in_an_attribute(kept):
    """Torch itself says that it may be of weight_norm."""
    inner = Odd(lambda s, x: setattr(s, 'seen', kept(s.net(x))) or s.net(x))
    net = nn.Sequential(inner)
    assert copied(net, 'student') is not net
    net(torch.randn(2, 3, 8, 8))
    message = r'^student \(Seq.* its "0.seen" holds .* or set 0.seen=None'
    with pytest.raises(ValueError, match=message):
        copied(net, 'student')


def test_files_of_weights_that_are_no_numbers(code, tmp_path):
    file = tmp_path / 'diverged.pth'
    weights = code.Silent().state_dict()
    weights['fc.bias'][0] = torch.nan
    torch.save(weights, file)
    message = rf"^teacher_weights='{file}' \(Silent\) has 1 NaN .*fc.bias"
    with pytest.raises(ValueError, match=message):
        get_network('silent_nets.Silent', 'teacher', str(file))


def test_expanded_buffers_are_copied():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    net.register_buffer('e', torch.ones(1).expand(4))
    found = copied(get_network(net, 'student').module, 'student')
    found.load_state_dict(net.state_dict())
    assert found.e.tolist() == [1] * 4 and net.e.stride() == (0,)
    net.w = nn.Parameter(torch.ones(1).expand(4))
    with pytest.raises(ValueError, match='w of student .*no optimizer'):
        copied(net, 'student')


def test_a_name_of_mmpretrain_reads_no_file():
    """Not even where its config has a place for one."""
    name = 'resnet50_byol-pre_8xb512-linear-coslr-90e_in1k'
    assert 'Pretrained' in repr(mmpretrain.get_model(name)._config.model)
    found = get_network(name, 'student')
    assert 'Pretrained' not in repr(found.build_cfg)
    found.module.init_weights()


@pytest.mark.parametrize(
    'value', [nn.ReLU, torch.float32, range(3), 1 + 2j, [object()], set()]
)
def test_arguments_that_no_config_can_hold(value, code):
    spec = f'{code.__file__}:Passes'
    with pytest.raises(TypeError, match=r"teacher_args\['act'\] should be a"):
        get_network(spec, 'teacher', arguments=dict(act=value))


def test_a_config_in_the_home_of_a_user(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'net.py').write_text(
        "model = dict(type='ImageClassifier', backbone=dict(type='LeNet5', "
        'num_classes=3))\n'
    )
    found = get_network('~/net.py', 'student')
    assert found.build_cfg['backbone']['num_classes'] == 3


def test_the_model_of_a_config_may_be_of_torch(tmp_path):
    (tmp_path / 'net.py').write_text(
        "default_scope = 'mmrazor'\nmodel = dict(type='TorchClassifier', "
        "factory='torchvision.models.resnet18', num_classes=5)\n"
    )
    network = get_network(str(tmp_path / 'net.py'), 'teacher')
    images = torch.randn(2, 3, 32, 32)
    found = trace(network.build_cfg, network.module, images, 'teacher')
    assert found.logits == 'net.fc'


def test_what_layers_keep_for_eval_mode_is_not_made_again():
    """It is of passes before, and the network is left as it is."""
    net = Cached(3, 2).eval()
    with torch.no_grad():
        net(torch.rand(1, 3))
    kept = net.kept
    found = get_network(net, 'student')
    assert not found.note and found.build_cfg['factory'].endswith(':Cached')
    assert found.module is net and net.kept is kept

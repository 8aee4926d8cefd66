# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Networks that Torch-Pruning and MMRazor pruned, brought into runs."""

import copy
import sys
from importlib.machinery import SourceFileLoader

import pytest
import torch
from helpers import ROOT, build, network
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmrazor.models.mutators import ChannelMutator, DCFFChannelMutator
from mmrazor.structures.subnet.fix_subnet import _dynamic_to_static
from torch import nn

from csd_mmrazor.api.recipes import makes, recipe_of
from csd_mmrazor.cli.run_source import Run, network_of
from csd_mmrazor.cli.train import _know_what_was_pruned
from csd_mmrazor.export import export_student
from csd_mmrazor.models.utils import load_weights
from csd_mmrazor.utils import load_file, write_safetensors

WHOLE = network(base_channels=8)
IMAGES = torch.randn(4, 1, 8, 8)


def by_torch_pruning(net):
    torch_pruning = pytest.importorskip('torch_pruning')
    torch_pruning.pruner.BasePruner(
        net,
        IMAGES,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[net.head.fc],
    ).step()
    return net


def by_mmrazor(net, kind, mutator=ChannelMutator):
    """By units of MMRazor, exported as by its own tool."""
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return _by_mmrazor(net, kind, mutator)


def _by_mmrazor(net, kind, mutator):
    mutator = mutator(
        channel_unit_cfg=dict(
            type=kind, default_args=dict(choice_mode='ratio')
        ),
        parse_cfg=dict(
            type='ChannelAnalyzer',
            demo_input=(1, 1, 8, 8),
            tracer_type='BackwardTracer',
        ),
    )
    mutator.prepare_from_supernet(net)
    choices = dict.fromkeys(mutator.current_choices, 0.5)
    mutator.set_choices(choices)
    if hasattr(mutator, 'calc_information'):
        mutator.calc_information(1.0)
    _dynamic_to_static(net)
    return net


@pytest.fixture(scope='module')
def nets():
    """Pruned networks by what pruned them, in eval mode."""
    torch.manual_seed(0)
    whole = build(WHOLE)
    for value in whole.state_dict().values():
        if value.is_floating_point():
            value.uniform_(-0.5, 1.5).clamp_(min=-0.2)
    for layer in whole.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_var.abs_().add_(0.5)
    whole.eval()
    return dict(
        torch_pruning=by_torch_pruning(copy.deepcopy(whole)),
        mmrazor_l1=by_mmrazor(copy.deepcopy(whole), 'L1MutableChannelUnit'),
        mmrazor_dcff=by_mmrazor(
            copy.deepcopy(whole), 'DCFFChannelUnit', DCFFChannelMutator
        ),
    )


def pruned(path):
    return dict(type='mmrazor.PrunedNetwork', network=WHOLE, shapes=str(path))


@pytest.mark.parametrize('by', ['torch_pruning', 'mmrazor_l1', 'mmrazor_dcff'])
@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_what_others_pruned(by, suffix, nets, tmp_path):
    net, path = nets[by].eval(), tmp_path / f'pruned.{suffix}'
    state = net.state_dict()
    if suffix == 'pth':
        torch.save(dict(state_dict=state), path)
    else:
        path.write_bytes(write_safetensors(state))
    found = build(pruned(path)).eval()
    load_weights(found, str(path), 'student_ckpt')
    whole = sum(p.numel() for p in build(WHOLE).parameters())
    assert sum(p.numel() for p in found.parameters()) < 0.4 * whole
    with torch.no_grad():
        expected = net(IMAGES, mode='tensor')
        torch.testing.assert_close(found(IMAGES, mode='tensor'), expected)
    assert expected.std() > 0
    # Given in memory, a config can name it.
    recipe, why = recipe_of(net, WHOLE)
    assert not why and recipe['network'] == WHOLE
    assert makes(recipe, net, IMAGES)


def test_repaired_in_a_run(nets, tmp_path, tiny_runner):
    """The whole one is the teacher, and the export needs no file of it."""
    path = tmp_path / 'pruned.safetensors'
    path.write_bytes(write_safetensors(nets['torch_pruning'].state_dict()))
    runner = tiny_runner(
        rehearsal=True,
        **{
            'model.architecture': dict(pruned(path), _delete_=True),
            'model.student_ckpt': str(path),
            'train_cfg.max_epochs': 1,
        },
    )
    runner.model.init_weights()
    start = load_file(path)
    for key, value in runner.model.architecture.state_dict().items():
        assert torch.equal(value, start[key])
    runner.train()
    trained = runner.model.architecture.eval().cpu().state_dict()
    assert any(not torch.equal(v, start[k]) for k, v in trained.items())
    folder = tmp_path / 'run/student'
    saved = load_file(folder / 'student.safetensors')
    assert saved.keys() == trained.keys()
    path.unlink()
    from mmpretrain import get_model

    again = get_model(
        str(folder / 'student.py'),
        pretrained=str(folder / 'student_mmpretrain.pth'),
    ).eval()
    assert shapes_of(again) == shapes_of(nets['torch_pruning'])
    with torch.no_grad():
        torch.testing.assert_close(
            again(IMAGES, mode='tensor'),
            runner.model.architecture(IMAGES, mode='tensor'),
        )
    cfg = Config.fromfile(folder / 'student.py')
    assert cfg.custom_imports.imports == ['csd_mmrazor']
    # Nor does what else is done with the run, which is all that is left.
    run = Run(str(tmp_path / 'run'), None)
    assert run.cfg.model.architecture.shapes == str(path)
    assert shapes_of(network_of('student', run)) == shapes_of(again)
    cfg = runner.cfg.copy()
    cfg.resume, cfg.load_from = True, None
    cfg.train_cfg.max_epochs = 2
    cfg.default_hooks.synthesis.rehearsal = False
    _know_what_was_pruned(cfg)
    cfg.experiment_name = 'resumed'
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.epoch == 2
    assert shapes_of(runner.model.architecture) == shapes_of(again)
    card = (folder / 'README.md').read_text()
    assert (
        'ResNet_CIFAR (depth=18, base_channels=8), with fewer channels' in card
    )
    assert 'started from the weights in `pruned.safetensors`' in card


def shapes_of(net):
    return {k: v.shape for k, v in net.state_dict().items()}


def test_of_another_package(nets, tmp_path):
    """One that is in a TorchClassifier, with the names of its own class."""
    torch_pruning = pytest.importorskip('torch_pruning')
    import torchvision

    net = torchvision.models.mobilenet_v2(num_classes=10).eval()
    images = torch.randn(2, 3, 32, 32)
    torch_pruning.pruner.BasePruner(
        net,
        images,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=0.5,
        ignored_layers=[net.classifier[1]],
    ).step()
    path = tmp_path / 'pruned.pth'
    torch.save(net.state_dict(), path)
    cfg = dict(
        type='mmrazor.PrunedNetwork',
        network=dict(
            type='mmrazor.TorchClassifier',
            factory='torchvision.models.mobilenet_v2',
            num_classes=10,
        ),
        shapes=str(path),
    )
    cfg = Config(dict(model=dict(architecture=cfg)))
    exported = export_student(cfg, path, tmp_path / 'out.pth')
    assert exported.config is None
    with torch.no_grad():
        expected = net.eval()(images)
        found = exported.model(images, mode='tensor')
    torch.testing.assert_close(found, expected)
    assert load_file(exported.weights).keys() == net.state_dict().keys()


@pytest.mark.parametrize(
    'change, error, message',
    [
        (
            dict(network='resnet'),
            ValueError,
            'network of PrunedNetwork should',
        ),
        (
            dict(shapes=3),
            ValueError,
            'shapes of PrunedNetwork should .* got 3',
        ),
        (
            dict(shapes='no.pth'),
            FileNotFoundError,
            'PrunedNetwork=no.pth .*model.architecture.shapes',
        ),
        (dict(shapes=dict(a=[1.5])), TypeError, 'lists of integers .* a: '),
        (dict(shapes={3: [1]}), TypeError, 'lists of integers .* got 3: '),
        (dict(shapes={None: [1]}), TypeError, 'by the names of weights'),
        (dict(shapes=dict(a=[1])), ValueError, 'is not the network that was'),
    ],
)
def test_bad_arguments(change, error, message):
    with pytest.raises(error, match=message):
        build(dict(pruned('x.pth'), **change))


def test_what_may_be_forgotten(nets, tmp_path, tiny_config, monkeypatch):
    """A file of the network as it was, and the weights that were left."""
    told = []
    for name in ('classifiers.pruned_network', 'algorithms.csd_distillation'):
        module = sys.modules[f'csd_mmrazor.models.{name}']
        monkeypatch.setattr(module, 'print_log', lambda *a: told.append(a[0]))
    whole, path = tmp_path / 'whole.pth', tmp_path / 'pruned.pth'
    torch.save(build(pruned({})['network']).state_dict(), whole)
    torch.save(nets['torch_pruning'].state_dict(), path)
    build(pruned(path))
    assert not told
    build(pruned(whole))
    assert f'{whole} has all channels of the whole network' in told.pop()
    for start in (str(path), None):
        options = {'architecture': dict(pruned(path), _delete_=True)}
        options['student_ckpt'] = start
        cfg = tiny_config(**{f'model.{k}': v for k, v in options.items()})
        build(cfg.model).init_weights()
        assert bool(told) == (start is None)
    assert f'network in {path}, but no weights of it' in told.pop()


def test_a_file_of_a_wider_network(tmp_path):
    path = tmp_path / 'wide.pth'
    torch.save(build(network(base_channels=12)).state_dict(), path)
    with pytest.raises(ValueError, match='wide.pth: .* nowhere wider'):
        build(pruned(path))


@pytest.mark.parametrize('name', ['csd', 'real-images'])
def test_the_example_and_the_configs(name, tmp_path):
    pytest.importorskip('torch_pruning')
    path = ROOT / 'examples/prune.py'
    example = SourceFileLoader('prune_example', str(path)).load_module()
    cfg = copy.deepcopy(example.NETWORK)
    cfg['backbone']['depth'] = 8
    net = build(cfg).eval()
    whole = sum(p.numel() for p in net.parameters())
    found = example.prune(net, 2)
    assert 1.5 < found < 2.1
    assert sum(p.numel() for p in net.parameters()) < 0.6 * whole
    path = str(tmp_path / 'pruned.pth')
    torch.save(net.state_dict(), path)
    cfg = Config.fromfile(
        ROOT / f'configs/pruned/{name}_resnet56_pruned_cifar10.py'
    )
    cfg.merge_from_dict(
        {
            'model.architecture.network.backbone.depth': 8,
            'model.architecture.shapes': path,
            'model.student_ckpt': path,
            'model.teachers.teacher.build_cfg.backbone.depth': 8,
            'model.teachers.teacher.ckpt_path': 'none',
        }
    )
    algorithm = build(cfg.model)
    algorithm.init_weights()
    found = algorithm.student.state_dict()
    for key, value in net.state_dict().items():
        assert torch.equal(found[key], value)
    # Each of its losses has what it looks at.
    with torch.no_grad():
        losses = algorithm.train().loss(
            torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
        )
    assert all(torch.as_tensor(v).isfinite().all() for v in losses.values())

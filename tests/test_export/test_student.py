# Copyright (c) csd_mmrazor developers. All rights reserved.
import inspect
import json
import os
import pickle
import re
import subprocess
import sys

import mmpretrain
import numpy as np
import pytest
import torch
from helpers import ROOT, TIMEOUT, build, front_of, network
from mmengine.config import Config
from PIL import Image

from csd_mmrazor.datasets import CIFAR10Images
from csd_mmrazor.export import export_student, find_checkpoint
from csd_mmrazor.export.student import normalisation_of

# Neither can be imported, as on a machine that has mmpretrain alone.
WITHOUT_PLUGIN = """
import sys
sys.modules['csd_mmrazor'] = sys.modules['mmrazor'] = None
"""


@pytest.fixture
def plain_python(tmp_path):
    """Run Python in tmp_path, without this plugin and MMRazor."""
    site = tmp_path / 'site'
    site.mkdir()
    (site / 'sitecustomize.py').write_text(WITHOUT_PLUGIN)

    def run(*command):
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', *map(str, command)],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(site)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_a_run_leaves_its_best_student(tiny_runner, tmp_path, plain_python):
    runner = tiny_runner()
    runner.train()
    work = tmp_path / 'run'
    best = torch.load(find_checkpoint(work), weights_only=False)
    weights = torch.load(work / 'student/student.pth', weights_only=True)
    exported = torch.load(
        work / 'student/student_mmpretrain.pth', weights_only=True
    )
    expected = {
        key[len('architecture.') :]: value
        for key, value in best['state_dict'].items()
        if key.startswith('architecture.')
    }
    for found in (weights, exported['state_dict']):
        assert set(found) == set(expected)
        for key, value in expected.items():
            assert torch.equal(found[key], value)
    assert exported['meta']['epoch'] == best['meta']['epoch']
    told = json.loads((work / 'student/student.json').read_text())
    assert told['epoch'] == best['meta']['epoch']
    assert told['classes'] == [*'0123456789'] and told['num_classes'] == 10
    assert (told['mean'], told['std']) == (
        pytest.approx([77.9]),
        pytest.approx([95.9]),
    )
    assert told['image_shape'] == [1, 8, 8]
    sizes = [
        path.stat().st_size
        for path in (find_checkpoint(work), work / 'student/student.pth')
    ]
    assert sizes[1] < sizes[0]
    # mmpretrain alone makes the same of it.
    student = build(network()).eval()
    student.load_state_dict(expected)
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    logits = student((images.float() - 77.9) / 95.9, mode='tensor')
    torch.save(dict(images=images, logits=logits), tmp_path / 'expected.pth')
    # So do the weights as safetensors, in mmpretrain's network.
    (tmp_path / 'net.py').write_text(f'model = {network()!r}')
    (tmp_path / 'load.py').write_text("""
import torch
from mmpretrain import get_model
from mmpretrain.apis import init_model
expected = torch.load('expected.pth')
args = 'run/student/student.py', 'run/student/student_mmpretrain.pth'
for model in (get_model(args[0], pretrained=args[1]), init_model(*args)):
    data = model.data_preprocessor(dict(inputs=[*expected['images']]))
    logits = model.eval()(data['inputs'], mode='tensor')
    torch.testing.assert_close(logits, expected['logits'])
    assert model._dataset_meta['classes'] == tuple('0123456789')
from safetensors.torch import load_file
model = get_model('net.py').eval()
model.load_state_dict(load_file('run/student/student.safetensors'))
logits = model(data['inputs'], mode='tensor')
torch.testing.assert_close(logits, expected['logits'])
print('the same')
""")
    assert plain_python('load.py').split()[-2:] == ['the', 'same']


@pytest.fixture
def cifar(tmp_path):
    """A run on CIFAR-10 in ImageFolder layout: its config and checkpoint."""
    rng = np.random.default_rng(0)
    for name in CIFAR10Images.METAINFO['classes']:
        folder = tmp_path / f'cifar/test/{name}'
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f'{number}.png')
    cfg = Config.fromfile(ROOT / 'configs/csd/csd_vgg11_resnet18_cifar10.py')
    cfg.model.architecture = network(channels=3)
    cfg.val_dataloader.dataset.data_root = str(tmp_path / 'cifar')
    cfg.val_dataloader.num_workers = 0
    cfg.test_dataloader = cfg.val_dataloader
    work = tmp_path / 'work'
    work.mkdir()
    cfg.dump(work / 'config.py')
    student = build(network(channels=3)).eval()
    state = student.state_dict()
    for value in state.values():
        if value.ndim > 1:
            value.normal_(0, 0.3)
    checkpoint = {f'architecture.{k}': v for k, v in state.items()}
    checkpoint['aux_head.weight'] = torch.zeros(1)
    torch.save(dict(state_dict=checkpoint), work / 'best_top1_epoch_3.pth')
    return student


class OwnNetwork(torch.nn.Module):
    """A stranger's module, which knows nothing of OpenMMLab."""

    def __init__(self, width=4):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, width, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(width)
        self.fc = torch.nn.Linear(width, 10)

    def forward(self, images):
        return self.fc(self.norm(self.conv(images)).relu().mean((2, 3)))


@pytest.fixture
def own_student(monkeypatch):
    """Options for an own module as student."""
    monkeypatch.setattr(torch.nn, 'OwnNetwork', OwnNetwork, raising=False)
    own = dict(type='TorchClassifier', factory='torch.nn.OwnNetwork', width=5)
    return {
        'model.architecture': dict(own, _delete_=True),
        'model.distiller.student_recorders': dict(
            feature=dict(type='FeatureMap', source='net.norm'),
            logits=dict(type='ModuleOutputs', source='net.fc'),
        ),
        'train_cfg.max_epochs': 1,
    }


def _wrapped(width):
    return torch.nn.DataParallel(OwnNetwork(width))


def _wrapped_inside(width):
    network = OwnNetwork(width)
    network.conv = torch.nn.DataParallel(network.conv)
    return network


@pytest.mark.parametrize(
    'factory, place', [(_wrapped, '.module'), (_wrapped_inside, None)]
)
def test_what_makes_an_own_module_with_wrappers(
    tiny_runner, tmp_path, own_student, monkeypatch, factory, place
):
    """Its weights do not have their names, so a file says where they are."""
    monkeypatch.setattr(torch.nn, 'OwnNetwork', factory)
    tiny_runner(**own_student).train()
    folder = tmp_path / 'run/student'
    told = json.loads((folder / 'student.json').read_text())
    assert told.get('place') == place
    assert told['factory'] == (place and 'torch.nn.OwnNetwork')
    card = (folder / 'README.md').read_text()
    assert ('network = OwnNetwork(width=5).module' in card) == bool(place)
    assert ('does not know how to construct the network' in card) != bool(
        place
    )


def test_an_own_module_as_student(
    tiny_runner, tmp_path, own_student, plain_python
):
    """Down to files that its own class, ONNX and torch.export take."""
    onnxruntime = pytest.importorskip('onnxruntime')
    runner = tiny_runner(
        **own_student,
        **{
            'default_hooks.export.onnx': True,
            'default_hooks.export.program': True,
            'default_hooks.export.normalize': True,
        },
        rehearsal=True,
    )
    runner.train()
    folder = tmp_path / 'run/student'
    assert {path.name for path in folder.iterdir()} == {
        'README.md',
        *(
            f'student.{suffix}'
            for suffix in ('pth', 'safetensors', 'json', 'onnx', 'pt2')
        ),
    }
    network = OwnNetwork(5)
    network.load_state_dict(
        torch.load(folder / 'student.pth', weights_only=True)
    )
    images = torch.rand(3, 1, 8, 8)
    inputs = (images * 255 - 77.9) / 95.9
    logits = network.eval()(inputs)
    student = runner.model.architecture.eval()
    torch.testing.assert_close(logits, student(inputs))
    # In a process that has nothing of this package.
    torch.save((inputs, logits), tmp_path / 'expected.pth')
    source = inspect.getsource(OwnNetwork)
    (tmp_path / 'load.py').write_text(f"""
import torch
from safetensors.torch import load_file
{source}
inputs, logits = torch.load('expected.pth')
network = OwnNetwork(5)
network.load_state_dict(load_file('run/student/student.safetensors'))
torch.testing.assert_close(network.eval()(inputs), logits)
print('the same')
""")
    assert plain_python('load.py').split()[-2:] == ['the', 'same']
    for path in folder.iterdir():  # whose archives do not compress
        for private in (tmp_path, ROOT, sys.prefix):
            assert os.fsencode(private) not in path.read_bytes(), path
    told = json.loads((folder / 'student.json').read_text())
    assert told['factory'] == 'torch.nn.OwnNetwork'
    assert told['arguments'] == dict(width=5)
    assert told['onnx']['inputs'] == 'images in [0, 1]'
    _, card = front_of(folder / 'README.md')
    for text in ('onnx` is in the form of', 'pt2` is a program of `torch.ex'):
        (line,) = (x for x in card.splitlines() if f'`student.{text}' in x)
        assert 'Its inputs are images in [0, 1], which it normalises' in line
    program = torch.export.load(folder / 'student.pt2').module()
    session = onnxruntime.InferenceSession(
        folder / 'student.onnx', providers=['CPUExecutionProvider']
    )
    for count in (1, 3):
        (found,) = session.run(None, dict(inputs=images[:count].numpy()))
        for each in (torch.from_numpy(found), program(images[:count])):
            torch.testing.assert_close(
                each, logits[:count], rtol=1e-4, atol=1e-5
            )


def test_an_export_that_fails(tiny_runner, tmp_path, monkeypatch):
    """It stops a run before its work, and not afterwards."""

    def fail(*args, **kwargs):
        raise OSError('no such luck')

    monkeypatch.setattr(
        'csd_mmrazor.engine.hooks.export_student_hook.export_student', fail
    )
    options = {'train_cfg.max_epochs': 1}
    with pytest.raises(ValueError, match='The export of the stud.*such luck'):
        tiny_runner('rehearsed', rehearsal=True, **options).train()
    assert not (tmp_path / 'rehearsed/bank').exists()
    runner = tiny_runner('my run', **options)
    runner.train()
    log = next((tmp_path / 'my run').rglob('*.log')).read_text()
    best = find_checkpoint(tmp_path / 'my run')
    assert f"export_student.py '{best}' OUT.pth tries again" in log
    assert 'OSError: no such luck' in log


@pytest.mark.parametrize(
    'name', ['student.pth', 'student.json', 'student.py', 'student.onnx']
)
def test_a_run_overwrites_no_file_of_others(name, tiny_runner, tmp_path):
    path = tmp_path / 'run/student' / name
    path.parent.mkdir(parents=True)
    path.write_text('mine')
    onnx = {'default_hooks.export.onnx': name.endswith('.onnx')}
    with pytest.raises(ValueError, match=f'{name} is there, and is no exp'):
        tiny_runner(**onnx).train()
    assert path.read_text() == 'mine' and not (tmp_path / 'run/bank').exists()


@pytest.mark.parametrize(
    'out', ['epoch_2.pth', 'best_x.pth', 'replaced_best_x.pth', 'iter_1.pth']
)
def test_an_export_is_no_checkpoint(out, tiny_runner):
    with pytest.raises(ValueError, match=f'out=.{out}. of Exp.* a checkpoint'):
        tiny_runner(**{'default_hooks.export.out': out}).train()


def test_mmpretrains_own_test_runs_it(forked, tmp_path, cifar, plain_python):
    """By the tool, with an ONNX file as well."""
    done = forked(
        *('work', 'out/student.pth', '--onnx', 'out/student.onnx'),
        tool='export_student.py',
    )
    assert done.status == [0], done.output[-3000:]
    told = done.stdout
    assert 'student_mmpretrain.pth without csd_mmrazor' in told
    assert float(re.search(r'at most (\S+) from', told)[1]) < 1e-4
    # Each is whole in itself, and names nothing of this machine.
    folder = str(tmp_path / 'cifar/test')
    for path in (tmp_path / 'out').iterdir():
        for private in (tmp_path, ROOT, sys.prefix):
            assert os.fsencode(private) not in path.read_bytes(), path
    option = 'test_dataloader.dataset.data_prefix='
    assert f'{option}FOLDER' in (tmp_path / 'out/student.py').read_text()
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {
        'student.md',
        'student.pth',
        'student.safetensors',
        'student.json',
        'student.py',
        'student_mmpretrain.pth',
        'student.onnx',
    }
    # What mmpretrain's tool finds is what the student finds.
    found = [
        np.asarray(Image.open(path))
        for path in sorted((tmp_path / 'cifar/test').glob('*/*.png'))
    ]
    images = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float()
    mean = torch.tensor([125.307, 122.961, 113.8575]).view(3, 1, 1)
    std = torch.tensor([51.5865, 50.847, 51.255]).view(3, 1, 1)
    logits = cifar((images - mean) / std, mode='tensor')
    labels = torch.arange(10).repeat_interleave(2)
    expected = (logits.argmax(1) == labels).float().mean().item() * 100
    tool = os.path.join(mmpretrain.__path__[0], '.mim/tools/test.py')
    printed = plain_python(
        *(tool, 'out/student.py', 'out/student.pth', '--out', 'pred.pkl'),
        *('--cfg-options', f'{option}{folder}'),
    )
    assert 'accuracy/top1' in printed
    predicted = pickle.loads((tmp_path / 'pred.pkl').read_bytes())
    scores = [sample['pred_score'].tolist() for sample in predicted]
    torch.testing.assert_close(
        torch.tensor(scores), logits.softmax(1), rtol=1e-3, atol=1e-4
    )
    top1 = float(re.findall(r'accuracy/top1: ([\d.]+)', printed)[-1])
    assert top1 == pytest.approx(expected, abs=1e-3)


def run_of(pair, tmp_path):
    """A config and a checkpoint of random weights."""
    cfg = Config.fromfile(ROOT / f'configs/csd/csd_{pair}.py')
    student = build(cfg.model.architecture)
    path = tmp_path / 'epoch_1.pth'
    state = {f'architecture.{k}': v for k, v in student.state_dict().items()}
    torch.save(state, path)
    return cfg, student, path


def test_parts_of_mmrazor_are_told(tmp_path):
    cfg, student, path = run_of('wrn40-2_wrn16-1_svhn', tmp_path)
    exported = export_student(cfg, path, tmp_path / 'out/student.pth')
    assert exported.needs_plugin
    cfg = Config.fromfile(exported.config)
    assert cfg.custom_imports.to_dict() == dict(imports=['csd_mmrazor'])
    assert 'test_dataloader' not in cfg
    assert exported.checkpoint.stat().st_size < 1e6
    model = mmpretrain.get_model(
        str(exported.config), pretrained=str(exported.checkpoint)
    )
    for name, value in student.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    assert model.data_preprocessor.mean.flatten().tolist() == [127.5] * 3


def test_a_student_by_cfg_path(tmp_path):
    cfg, student, path = run_of('resnet34_resnet18_cifar10', tmp_path)
    cfg.model.architecture.init_cfg = dict(type='Pretrained', checkpoint='x')
    exported = export_student(cfg, path, tmp_path / 'student.pth')
    assert not exported.needs_plugin
    plain = Config.fromfile(exported.config)
    assert plain.model.backbone.depth == 18
    assert plain.model.get('init_cfg') is None
    assert plain.model.data_preprocessor.std == [51.5865, 50.847, 51.255]
    # As published, under mmpretrain's name.
    assert plain.test_dataloader.dataset.type == 'CIFAR10'
    assert 'mmrazor' not in exported.config.read_text()


def test_what_cannot_be_exported(tmp_path):
    cfg = Config(dict(model=dict(architecture=network())))
    with pytest.raises(ValueError, match='OUT.pth, but got out.onnx'):
        export_student(cfg, 'x.pth', 'out.onnx')
    torch.save(
        build(network(base_channels=6)).state_dict(), tmp_path / 'o.pth'
    )
    with pytest.raises(ValueError, match='checkpoint=.* does not fit'):
        export_student(cfg, tmp_path / 'o.pth', tmp_path / 'out.pth')
    bad = build(network()).state_dict()
    bad['head.fc.weight'][0] = float('inf')
    torch.save(bad, tmp_path / 'inf.pth')
    with pytest.raises(ValueError, match='^checkpoint .*inf.pth .* NaN or in'):
        export_student(cfg, tmp_path / 'inf.pth', tmp_path / 'out.pth')
    # Of MMRazor's searches, pruning and quantization.
    torch.save(build(network()).state_dict(), tmp_path / 'n.pth')
    for part in ('mutator', 'mutator_cfg', 'quantizer'):
        cfg.model = dict(
            type='Other', architecture=network(), **{part: dict(type='Part')}
        )
        with pytest.raises(ValueError, match=rf'^Other .*\(model.{part}\)'):
            export_student(cfg, tmp_path / 'n.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def test_means_are_as_they_were_given():
    given = [0.305 * 255, 123.675, 0.1, 1 / 3]
    std = [0.376 * 255, 58.395, 255.0, 1e-3]
    found = normalisation_of(
        build(dict(type='mmpretrain.ClsDataPreprocessor', mean=given, std=std))
    )
    assert found['mean'] == [77.775, 123.675, 0.1, 0.333333]
    assert found['std'] == [95.88, 58.395, 255.0, 0.001]


def test_one_mean_for_all_channels():
    """As many numbers as whoever normalises without this package needs."""
    preprocessor = build(
        dict(type='mmpretrain.ClsDataPreprocessor', mean=[127.5], std=[63.75])
    )
    found = normalisation_of(preprocessor, 3)
    assert found == dict(mean=[127.5] * 3, std=[63.75] * 3)
    assert normalisation_of(preprocessor) == dict(mean=[127.5], std=[63.75])
    preprocessor = build(dict(type='mmpretrain.ClsDataPreprocessor'))
    assert normalisation_of(preprocessor, 3) == dict(mean=None, std=None)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a card says to run is run as by a stranger, without this package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from csd_mmrazor.export.card.files import files_of
from csd_mmrazor.export.card.usage import run_by_torch
from csd_mmrazor.utils.imports import file_in_package

NET = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width, bias=False, most=0, few=()):
        layers = nn.Flatten(), nn.Linear(12, width), nn.Linear(width, 3)
        super().__init__(*layers)

def wrapped(**arguments):
    return nn.DataParallel(Net(**arguments))
"""
NAME = "it's.pth"
ABOUT = dict(
    factory='own_net.py:Net',
    arguments=dict(width=5, bias=True, most=float('inf'), few=[float('nan')]),
    image_shape=[3, 2, 2],
    mean=[1.0, 2.0, 3.0],
    std=[4.0, 5.0, 6.0],
)


def run(card, folder):
    """What the code of a card computes where only its files are."""
    code = card.split('```python\n')[1].split('```')[0]
    path = folder / 'pasted.py'
    path.write_text(
        'import sys\nsys.modules["csd_mmrazor"] = None\n'
        + code.replace('zeros', 'ones')
        + 'print(logits.tolist())\n'
    )
    done = subprocess.run(
        [sys.executable, path.name],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return torch.tensor(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def network(tmp_path):
    (tmp_path / 'own_net.py').write_text(NET)
    torch.manual_seed(0)
    layers = nn.Flatten(), nn.Linear(12, 5), nn.Linear(5, 3)
    network = nn.Sequential(*layers).eval()
    torch.save(network.state_dict(), tmp_path / NAME)
    return network


def logits_of(network, about):
    images = torch.ones(1, 3, 2, 2)
    if about['mean']:
        mean, std = (
            torch.tensor(about[key]).view(-1, 1, 1) for key in ('mean', 'std')
        )
        images = (images - mean) / std
    with torch.no_grad():
        return network(images)


@pytest.mark.parametrize(
    'changed',
    [
        {},
        dict(mean=None, std=None),
        dict(factory='own_net.py:wrapped', place='.module'),
    ],
)
def test_a_network_of_ones_own_class(changed, network, tmp_path):
    about = dict(ABOUT, **changed)
    found = run(files_of(Path(NAME), about), tmp_path)
    torch.testing.assert_close(found, logits_of(network, about))


def test_a_network_of_a_package(network, tmp_path):
    """Its file may import its neighbours relatively."""
    package = tmp_path / 'nets' / 'small'
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / '__init__.py').touch()
    (package / 'layers.py').write_text(NET)
    (package / 'own.py').write_text('from .layers import Net')
    file = file_in_package(str(package / 'own.py'))
    assert file == 'nets/small/own.py'
    assert file_in_package(str(tmp_path / 'own_net.py')) == 'own_net.py'
    about = dict(ABOUT, factory=f'{file}:Net')
    card = files_of(Path(NAME), about)
    assert 'you need the package nets as well' in card
    torch.testing.assert_close(run(card, tmp_path), logits_of(network, about))


INPUTS = ['normalised', 'images in [0, 1]']


@pytest.mark.parametrize('inputs', INPUTS)
def test_an_onnx_file(inputs, network, tmp_path):
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    example, path = torch.zeros(1, 3, 2, 2), tmp_path / "it's.onnx"
    torch.onnx.export(network, example, path, dynamo=True, verbose=False)
    check_file('onnx', path, inputs, network)


@pytest.mark.parametrize('inputs', INPUTS)
def test_a_program(inputs, network, tmp_path):
    path = tmp_path / "it's.pt2"
    program = torch.export.export(network, (torch.zeros(1, 3, 2, 2),))
    torch.export.save(program, path)
    check_file('program', path, inputs, network)


def check_file(kind, path, inputs, network):
    about = dict(ABOUT, **{kind: dict(file=path.name, inputs=inputs)})
    for factory in (None, 'own_net.py:Net'):
        card = files_of(Path(NAME), dict(about, factory=factory))
        *others, card = card.split('## How to run ')
        assert card.startswith(f'`{path.name}`\n')
        assert len(others) == (2 if factory else 1)
    found = run(card, path.parent)
    if inputs != 'normalised':
        about.update(mean=[0.0] * 3, std=[255.0] * 3)
    torch.testing.assert_close(
        found, logits_of(network, about), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize(
    'changed, why',
    [
        (dict(factory=None), 'to construct the network'),
        (dict(factory='own net.py:Net'), 'to construct the network'),
        (dict(factory='lent:student'), 'export RUN OUT.pth --onnx'),
        (dict(arguments=dict(act=object())), 'to construct the network'),
        (dict(arguments={'a=print(1), b': 2}), 'to construct the network'),
        (dict(arguments={'class': 2}), 'to construct the network'),
        (dict(factory='2net.py:Net'), 'to construct the network'),
        (dict(factory='nets/class/a.py:Net'), 'to construct the network'),
        (dict(pruned=True), 'how its class makes these shapes'),
        (dict(image_shape=None), 'shape is not known'),
    ],
)
def test_no_code_where_it_would_not_run(changed, why):
    about = {**ABOUT, **changed}
    assert not run_by_torch(Path('a.pth'), about)
    assert why in files_of(Path('a.pth'), about)


def test_a_network_of_mmpretrain():
    about = dict(ABOUT, factory=None)
    text = files_of(Path('a.pth'), about, with_mmpretrain=True)
    assert "get_model('a.py', pretrained='a_mmpretrain.pth')" in text
    assert 'without mmpretrain, export it to ONNX' in text


def test_arguments_keep_their_types():
    given = dict(widths=(4, (6,)), opts={'a': [1, ()]})
    text = run_by_torch(
        Path('a.pth'), dict(ABOUT, factory='nets.Net', arguments=given)
    )
    assert "Net(widths=(4, (6,)), opts={'a': [1, ()]})" in text


def test_a_class_of_a_package():
    text = run_by_torch(Path('a.pth'), dict(ABOUT, factory='timm.models.net'))
    assert 'from timm.models import net\n' in text
    assert '# RGB images' in text


@pytest.mark.parametrize('place', ["['logits']", '[0]', '.logits'])
def test_a_network_that_returns_more(place):
    about = dict(ABOUT, factory='timm.models.net', output=place)
    text = run_by_torch(Path('a.pth'), about)
    assert f'    logits = network(images){place}\n' in text

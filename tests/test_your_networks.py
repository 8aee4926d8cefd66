# Copyright (c) csd_mmrazor developers. All rights reserved.
"""docs/your_networks.md from top to bottom, as a user would run it."""

import pickle
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from helpers import ROOT, TINY, command_blocks
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image
from torchvision.datasets import CIFAR10

from csd_mmrazor.datasets.image_folder import list_image_folder

PAGE = 'docs/your_networks.md'
BLOCK = re.compile(r'^```(python|bash)\n(.*?)^```', re.DOTALL | re.MULTILINE)
# What a reader does not need in order to see that it works.
LESS = f'schedule={TINY!r}, device="cpu", budget=4'


def smaller(text):
    """The same with a budget of seconds."""
    text = re.sub(r"budget=(?:'15min'|2000)", LESS, text)
    numbers = ' '.join(f'{key}={value}' for key, value in TINY.items())
    return text.replace(
        '--budget 15min', f'--budget 4 --device cpu --schedule {numbers}'
    )


def trained(network, images):
    """A network that has learned one image of each class, normalised."""
    inputs = (torch.from_numpy(images)[:, None] / 255 - 0.1307) / 0.3081
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(inputs), torch.arange(len(inputs)))
        loss.backward()
        optimizer.step()
    return network


def test_the_page_from_top_to_bottom(tmp_path, monkeypatch, forked):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'my_net', raising=False)
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    images = []
    for label in range(10):
        folder = tmp_path / f'mnist/test/{label}'
        folder.mkdir(parents=True)
        pixels = np.random.default_rng(label).integers(0, 256, (28, 28))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / 'a.png')
        images.append(pixels)
        folder = tmp_path / 'pictures'
        folder.mkdir(exist_ok=True)
        Image.new('L', (28, 28), 20 * label).save(folder / f'{label}.png')
    names, run = {}, 0
    for language, text in BLOCK.findall((ROOT / PAGE).read_text()):
        named = re.match(r'# (\w+\.py)\n', text)
        if named:
            (tmp_path / named[1]).write_text(text)
            if named[1] == 'my_net.py':
                from my_net import Net

                teacher = trained(Net(32), np.stack(images))
                torch.save(teacher.state_dict(), 'teacher.pth')
        elif language == 'python':
            exec(compile(smaller(text), PAGE, 'exec'), names)
            run += 1
        elif 'csd_mmrazor' in text:
            commands = smaller(text).replace('\\\n', ' ').splitlines()
            for command in commands:
                python, _, module, *argv = shlex.split(command)
                assert (python, module) == ('python', 'csd_mmrazor')
                done = forked(*argv, module=module)
                assert done.status == [0], done.output
                run += 1
    assert run == 5 + 4
    (text,) = (b for _, b in command_blocks('README.md') if 'my_net' in b)
    _, _, module, *argv = shlex.split(smaller(text).replace('\\\n', ' '))
    done = forked(*argv, '--out', 'runs/readme', module=module)
    assert done.status == [0], done.output
    for file in (
        'runs/mnist/student/student.pth',
        'runs/mnist/report.html',
        'runs/mnist_again/epoch_1.pth',
        'runs/mnist_2/config.py',
        'student.onnx',
        'report.html',
    ):
        assert (tmp_path / file).is_file(), file
    # The config that inherits the complete one.
    cfg = Config.fromfile('my_images.py')
    assert cfg.val_dataloader.dataset.data_prefix == 'FOLDER'
    assert cfg.model.data_preprocessor.to_rgb
    one, other = (
        torch.load(f'runs/{run}/epoch_1.pth', weights_only=False)
        for run in ('mnist', 'mnist_again')
    )
    for key, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][key]), key


def test_images_to_validate_on_get_one_size(tmp_path):
    """Whatever shape they have: batches would be padded."""
    texts = [text for _, text in BLOCK.findall((ROOT / PAGE).read_text())]
    (text,) = (each for each in texts if each.startswith('# my_images.py'))
    cfg = Config.fromstring(re.sub(r'_base_ = .*', '', text), '.py')
    data = cfg.val_dataloader.dataset
    path = tmp_path / 'a.png'
    for size in ((96, 64), (20, 30), (32, 32)):
        Image.new('RGB', size).save(path)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            found = Compose(data.pipeline)(dict(img_path=str(path)))
        assert found['inputs'].shape == (3, 32, 32)


def test_pictures_of_what_is_published(tmp_path, monkeypatch):
    """Of files in the published layout, by the code of the page."""
    pages = BLOCK.findall((ROOT / PAGE).read_text())
    (text,) = (each for _, each in pages if each.startswith('# to_pictures'))
    folder = tmp_path / 'downloads' / CIFAR10.base_folder
    folder.mkdir(parents=True)
    labels = [9, 0, 3, 10, 2, 1, 4, 8, 7, 6, 5]
    pixels = np.random.default_rng(0).integers(0, 256, (11, 3072), np.uint8)
    meta = dict(CIFAR10.meta, md5=None)
    batch = dict(data=pixels, labels=labels)
    for name, content in dict(
        part=batch, test=batch, **{meta['filename']: {meta['key']: ['a']}}
    ).items():
        (folder / name).write_bytes(pickle.dumps(content))
    # What is published has checksums.
    monkeypatch.setattr(CIFAR10, 'meta', meta)
    monkeypatch.setattr(CIFAR10, 'train_list', [['part', None]])
    monkeypatch.setattr(CIFAR10, 'test_list', [['test', None]])
    monkeypatch.chdir(tmp_path)
    exec(compile(text, PAGE, 'exec'), {})
    for split in ('train', 'test'):
        found = list_image_folder(Path('data/cifar10', split))
        assert [label for _, label in found] == [*range(11)]
        # Also for those that sort folders as texts.
        names = [path.parent.name for path, _ in found]
        assert names == sorted(names)
        for (path, _), index in zip(found, np.argsort(labels)):
            expected = pixels[index].reshape(3, 32, 32).transpose(1, 2, 0)
            assert (np.asarray(Image.open(path)) == expected).all()

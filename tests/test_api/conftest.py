# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A user's own network in a file of its own, and images for it."""

import importlib
import sys

import numpy as np
import pytest
import torch
from helpers import TINY
from PIL import Image

# Nothing of OpenMMLab, and modules of a user's own names.
NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8, num_classes=3):
        super().__init__()
        self.width = width
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
        )
        self.fc = nn.Linear(2 * width, num_classes)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


def make(width, num_classes=3):
    return Net(width, num_classes)
"""


@pytest.fixture(scope='session')
def home(tmp_path_factory):
    """A user's folder: my_net.py, t.pth, val/<class>/*.png."""
    folder = tmp_path_factory.mktemp('home')
    (folder / 'tiny_net_of_a_user.py').write_text(NET)
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module('tiny_net_of_a_user')
    finally:
        sys.path.remove(str(folder))
    torch.manual_seed(0)
    teacher = module.Net(16)
    optimizer = torch.optim.Adam(teacher.parameters(), 0.01)
    for _ in range(30):
        images, labels = draw(64)
        loss = torch.nn.functional.cross_entropy(teacher(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.save(teacher.state_dict(), folder / 't.pth')
    images, labels = draw(30)
    levels = ((images * 0.3 + 0.4).clamp(0, 1) * 255).round()
    for index, (image, label) in enumerate(zip(levels, labels.tolist())):
        path = folder / 'val' / 'abc'[label] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0].numpy().astype(np.uint8)).save(path)
    return folder


def draw(number):
    """Normalised images of 12x12 of three classes of brightness."""
    labels = torch.randint(3, (number,))
    images = torch.randn(number, 1, 12, 12) * 0.3
    return images + (labels - 1)[:, None, None, None], labels


@pytest.fixture
def net(home):
    """The user's class."""
    return sys.modules['tiny_net_of_a_user'].Net


@pytest.fixture
def teacher(home, net):
    """The trained teacher, as a user has it."""
    model = net(16)
    model.load_state_dict(torch.load(home / 't.pth', weights_only=True))
    return model


@pytest.fixture
def call(home, tmp_path):
    """``distill`` with all that a run of seconds needs."""
    from csd_mmrazor import distill

    def call(teacher, student, **arguments):
        return distill(
            teacher,
            student,
            **dict(
                dict(
                    image_shape=(1, 12, 12),
                    mean=[0.4],
                    std=[0.3],
                    val=str(home / 'val'),
                    budget=20,
                    work_dir=tmp_path / 'run',
                    schedule=TINY,
                    device='cpu',
                ),
                **arguments,
            ),
        )

    return call

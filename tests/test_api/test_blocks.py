# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students of distill() that are their teacher with fewer blocks."""

import importlib
import json
import sys

import pytest
import torch
from helpers import TINY
from torch import nn

from csd_mmrazor import distill
from csd_mmrazor.api.blocks import blocks_of
from csd_mmrazor.api.networks import Network
from csd_mmrazor.cli.distill import arguments_of, parse_args
from csd_mmrazor.engine.hooks import agreement_hook
from csd_mmrazor.utils.accuracy import FITS, estimate_accuracy
from csd_mmrazor.utils.scalars import read_scalars

DEEP = """
from torch import nn


class Block(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(width, width, 3, 1, 1), norm(width)

    def forward(self, x):
        return (x + self.norm(self.conv(x))).relu()


class Deep(nn.Module):
    def __init__(self, depth, width=8, norm=nn.BatchNorm2d):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        blocks = [Block(width, norm) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(width, 3)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))
"""


@pytest.fixture(scope='module')
def deep(tmp_path_factory):
    """The class of a user's residual networks."""
    folder = tmp_path_factory.mktemp('deep')
    (folder / 'deep_net_of_a_user.py').write_text(DEEP)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module('deep_net_of_a_user').Deep
    finally:
        sys.path.remove(str(folder))


def trained(net):
    """As if it had been trained: its BN layers have seen images."""
    net.train()(torch.randn(8, 1, 12, 12))
    return net.eval()


def found(deep, teacher, student, **arguments):
    networks = {
        name: Network(net, dict(factory='deep.py:Deep'), '')
        for name, net in (('teacher', teacher), ('student', student))
    }
    copies = {name: each.module for name, each in networks.items()}
    inputs = torch.randn(2, 1, 12, 12)
    arguments.setdefault('given', None)
    return blocks_of(
        networks=networks, copies=copies, inputs=inputs, **arguments
    )


def test_by_default_untrained_students_that_fit(deep):
    teacher = trained(deep(4))
    (chain,) = found(deep, teacher, deep(2))
    assert chain.name == 'net.blocks'
    assert (len(chain.blocks), len(chain.wanted)) == (4, 2)
    assert not found(deep, teacher, deep(2), given=False)
    # Its own weights may be worth something.
    assert not found(deep, teacher, deep(2), student_weights='s.pth')
    assert not found(deep, teacher, trained(deep(2)))
    assert found(deep, teacher, trained(deep(2)), given=True)

    def norm(width):
        return nn.GroupNorm(1, width)

    teacher = deep(4, norm=norm)
    assert not found(deep, teacher, deep(2, norm=norm))
    assert found(deep, teacher, deep(2, norm=norm), given=True)
    # What is frozen is to stay.
    frozen = deep(2)
    frozen.stem.requires_grad_(False)
    assert not found(deep, trained(deep(4)), frozen)
    assert found(deep, trained(deep(4)), frozen, given=True)
    # Others start as they are.
    assert not found(deep, teacher, deep(2, width=4, norm=norm))


def test_what_is_asked_for_and_cannot_be(deep):
    with pytest.raises(ValueError, match='teacher_blocks=True: .*stem.weight'):
        found(deep, deep(4), deep(2, width=4), given=True)
    with pytest.raises(ValueError, match="student_weights='s.pth' both"):
        found(deep, deep(4), deep(2), given=True, student_weights='s.pth')


def test_a_run_of_it(deep, tmp_path, capsys, monkeypatch):
    compare = agreement_hook.compare

    def compared(*args):
        """As if the teacher had been trained."""
        sure = dict(recognised=80.0, confident=90.0, confident_images=19.0)
        sure['chance'] = 20.0
        return {k: dict(v, **sure) for k, v in compare(*args).items()}

    monkeypatch.setattr(agreement_hook, 'compare', compared)
    teacher, student = trained(deep(4)), deep(2)
    arguments = dict(
        image_shape=(1, 12, 12),
        mean=[0.4],
        std=[0.3],
        budget=10,
        work_dir=tmp_path / 'run',
        # So that training leaves the student nearly as it starts.
        schedule=dict(TINY, lr=1e-9),
        device='cpu',
    )
    run = distill(teacher, student, **arguments)
    told = capsys.readouterr().out
    assert 'starts from blocks of the teacher: 2 of 4 of net.blocks' in told
    assert 'blocks of the teacher: chosen in' in told
    assert run.plan.timings.choice > 0
    weights = teacher.state_dict()
    given = student.state_dict()
    assert torch.allclose(given['fc.weight'], weights['fc.weight'], atol=1e-5)
    places = [
        place
        for block in range(2)
        for place in range(4)
        if torch.allclose(
            given[f'blocks.{block}.conv.weight'],
            weights[f'blocks.{place}.conv.weight'],
            atol=1e-5,
        )
    ]
    assert places[0] == 0 < places[1]
    assert 'It gives the same class as its teacher on' in told
    log = next(run.work_dir.glob('*/*.log')).read_text()
    assert f'net.blocks: blocks {places[0]}, {places[1]} (2 of 4)' in log
    assert 'student at the start' in run.report.read_text()
    # It is trained now, and its run is known all the same.
    again = distill(teacher, student, **arguments)
    assert 'this run, which continues' in capsys.readouterr().out
    assert again.top1 is run.top1 is None
    # Nothing else tells how good it is.
    scalars = read_scalars(run.work_dir)
    epoch = run.plan.schedule.epochs
    alike, sure, number = (
        scalars[f'agreement_mean/held_out_{name}'].get(epoch)
        for name in ('top1', 'confident', 'confident_images')
    )
    expected = estimate_accuracy(FITS['held_out'], sure, images=int(number))
    for each in (run, again):
        assert (each.agreement, each.estimate) == (alike, expected)
    record = json.loads((run.work_dir / 'distill.json').read_text())
    assert record['blocks'] is True
    with pytest.raises(ValueError, match='there, teacher_blocks=False here'):
        distill(teacher, student, **arguments, teacher_blocks=False)


@pytest.mark.parametrize(
    'words, value',
    [
        ([], None),
        (['--teacher-blocks'], True),
        (['--no-teacher-blocks'], False),
    ],
)
def test_the_option(words, value):
    argv = ['--teacher', 'a', '--student', 'b', '--image-shape', '1,8,8']
    found = arguments_of(parse_args([*argv, *words]))
    assert found['teacher_blocks'] is value

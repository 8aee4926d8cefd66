# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Students that start from something, in runs that note them."""

import re
from pathlib import Path

import pytest
import torch
from helpers import PROBE, Stop, build, dump
from mmengine.hooks import Hook


def lived_in(cfg):
    """A network whose layers each do something of their own."""
    torch.manual_seed(2)
    model = build(cfg)
    model.init_weights()
    model.train()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5)
                part.bias.uniform_(-0.5, 0.5)
        for _ in range(5):
            model(torch.randn(64, 1, 8, 8), mode='tensor')
    return model


def log_of(runner):
    return Path(runner.log_dir, f'{runner.timestamp}.log').read_text()


class Look(Hook):
    """Keeps the student as training starts; may stop the run."""

    priority = 'VERY_LOW'

    def __init__(self, stop_at=None):
        self.stop_at, self.students = stop_at, []

    def note(self, runner):
        student = runner.model.student.state_dict()
        self.students.append({k: v.clone() for k, v in student.items()})

    def before_train(self, runner):
        self.note(runner)

    def after_train_iter(self, runner, *_, **__):
        self.note(runner)
        if self.stop_at == runner.iter + 1:
            raise Stop


def trained(runner, stop_at=None):
    """The student at the start and after each step."""
    look = Look(stop_at)
    runner.register_hook(look)
    if stop_at is None:
        runner.train()
    else:
        with pytest.raises(Stop):
            runner.train()
    return look.students


def output_of_two(forked, cfg, tmp_path):
    """Of two processes, whose students start and end alike."""
    (tmp_path / 'probe.py').write_text(PROBE)
    dump(cfg, tmp_path / 'config.py')
    done = forked(
        *('config.py', '--work-dir', 'two'),
        processes=2,
        setup='sys.path.insert(0, os.getcwd())',
    )
    assert done.status == [0, 0], done.output[-3000:]
    found = re.findall(r'PROBE (\d) (\w+)', done.output)
    ranks = [{d for r, d in found if r == rank} for rank in '01']
    # At the start and at the end.
    assert ranks[0] == ranks[1] and len(ranks[0]) == 2
    return done.output

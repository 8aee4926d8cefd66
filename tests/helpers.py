# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Small real parts that the tests build; conftest.py has the fixtures."""

import functools
import multiprocessing
import os
import re
import shlex
import socket
from argparse import Namespace
from pathlib import Path

import torch
import yaml
from mmengine.config import config
from mmengine.registry import DefaultScope
from mmrazor.registry import MODELS

from csd_mmrazor.cli.compare_rows import COLUMNS
from csd_mmrazor.cli.config import load_config
from csd_mmrazor.models import Networks

ROOT = Path(__file__).parent.parent
# Seconds until a process counts as hung, on however slow a machine.
TIMEOUT = 600
# A schedule of seconds, for distill().
TINY = dict(
    iters=2,
    init_iters=2,
    synthesis_batch=8,
    batch=8,
    latent_dim=8,
    hidden_channels=8,
)


def hasten():
    """Leave out what tiny runs spend most of their time on.

    That is laying out their configs for the log, asking other programs for
    their versions each time, timing passes of 32 images for the report, and
    waiting for the disk, as only a power failure would show. Processes that a
    test starts by itself, such as torchrun's, do it all.
    """
    from mmengine.runner import runner

    from csd_mmrazor.engine import measure

    measure._BATCHES, measure._PASSES = (1, 2), 1
    config.FormatCode = lambda text, **_: (text, True)
    os.fsync = lambda file: None
    runner.collect_env = functools.lru_cache(None)(runner.collect_env)


class Stop(BaseException):
    """Stands for a kill: nothing handles it."""


class Cached(torch.nn.Linear):
    """Keeps what its weights come to in eval mode, as layers of timm do."""

    kept = None

    def train(self, mode=True):
        super().train(mode)
        self.__dict__.pop('kept', None)
        return self

    def forward(self, x):
        if self.training:
            return super().forward(x)
        if self.kept is None:
            self.kept = self.weight.clone()
        return x @ self.kept.t() + self.bias


def equal(a, b):
    """Whether two state dicts are the same, bit by bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def dump(cfg, path):
    """Write a config without what tests alone set."""
    for name in ('experiment_name', 'work_dir'):
        cfg.pop(name, None)
    cfg.dump(path)


def load(path, **options):
    """A config as the commands load it, with ``--cfg-options``."""
    return load_config(
        Namespace(
            config=str(path),
            cfg_options=options,
            launcher='none',
            work_dir=None,
        )
    )


def free_port():
    """A port for processes that agree on one; tests run side by side."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def exit_codes(target, *args):
    """Of two forks that run a function, each with its rank after ``args``."""
    context = multiprocessing.get_context('fork')
    processes = [
        context.Process(target=target, args=(*args, rank), daemon=True)
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def network(channels=1, base_channels=4, num_classes=10, **backbone):
    """Config of a small classifier for images of 8x8 and more."""
    return dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        backbone=dict(
            dict(
                type='ResNet_CIFAR',
                depth=18,
                in_channels=channels,
                stem_channels=base_channels,
                base_channels=base_channels,
                num_stages=2,
                strides=(1, 2),
                dilations=(1, 1),
                out_indices=(1,),
            ),
            **backbone,
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=num_classes,
            in_channels=2 * base_channels,
        ),
    )


def a_row(method, seed, top1, **others):
    """A row of a table of results."""
    row = dict.fromkeys(COLUMNS, '')
    return row | dict(method=method, seed=str(seed), top1=top1) | others


def build(cfg):
    """Build a model of MMRazor's registry, as a config would."""
    with DefaultScope.overwrite_default_scope('mmrazor'):
        return MODELS.build(cfg)


def synthesizer(**options):
    """An ``ImageSynthesizer`` of images that :func:`network` takes."""
    generator = dict(
        type='CSDGenerator',
        img_size=8,
        latent_dim=6,
        hidden_channels=4,
        channels=1,
    )
    return build(dict(type='ImageSynthesizer', generator=generator) | options)


def networks():
    """A teacher and a student with lived-in BN layers, without a head."""
    torch.manual_seed(0)
    parts = [build(network(base_channels=width)) for width in (8, 4)]
    for part in parts:
        part.init_weights()
        part.train()
        part(torch.randn(64, 1, 8, 8), mode='tensor')
        part.eval()
    return Networks(
        torch.nn.ModuleDict(dict(teacher=parts[0])),
        parts[1],
        None,
        lambda images: (images - 0.3) / 0.4,
    )


def command_blocks(page):
    """What stands in the bash blocks of a page of Markdown.

    Returns:
        list[tuple[str, str]]: The comment right above a block, '' if there
            is none, and what is in the block.
    """
    found = re.findall(
        r'^(?:<!-- ((?:(?!-->).)*) -->\n)?```bash\n(.*?)^```',
        (ROOT / page).read_text(),
        re.DOTALL | re.MULTILINE,
    )
    assert len(found) == (ROOT / page).read_text().count('```bash')
    return found


def command(page, containing):
    """The arguments of the only command in the block that contains a text."""
    (block,) = (b for _, b in command_blocks(page) if containing in b)
    return shlex.split(block.replace('\\\n', ' '), comments=True)


# How one of several processes tells what it has. Those of torchrun write each
# word that they print by itself.
SAY = """
import os


def say(*words):
    # In one piece, or processes print into each other's lines.
    line = ' '.join(map(str, ('PROBE', *words)))
    os.write(1, f'\\n{line}\\n'.encode())
"""
# Tells whether all processes have one student, at the start and at the end.
PROBE = f"""{SAY}
import hashlib
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Probe(Hook):
    priority = 'VERY_LOW'

    def before_train(self, runner):
        joined = hashlib.sha256()
        for value in runner.model.module.student.state_dict().values():
            joined.update(value.cpu().numpy().tobytes())
        say(get_rank(), joined.hexdigest())

    after_train = before_train
"""
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


def front_of(path):
    """The YAML before a model card, and what follows it."""
    text = path.read_text(encoding='utf-8')
    nothing, front, body = text.split('---\n', 2)
    assert nothing == ''
    try:
        from huggingface_hub import ModelCard
    except ImportError:
        pass
    else:
        card = ModelCard(text)
        (index,) = yaml.safe_load(front)['model-index']
        assert card.data.model_name == index['name']
        assert len(card.data.eval_results or []) == sum(
            len(result['metrics']) for result in index['results']
        )
    return yaml.safe_load(front), body

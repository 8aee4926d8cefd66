# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the pages under docs/ promise: examples that run, parts that exist."""

import re
import runpy
import sys

import pytest
from helpers import ROOT
from mmengine.runner import Runner
from mmrazor import registry

import csd_mmrazor  # noqa: F401

BLOCK = re.compile(r'```python\n# (\w+\.py)\n(.*?)```', re.DOTALL)
# {name of the file: its content}
FILES = dict(BLOCK.findall((ROOT / 'docs/extending.md').read_text()))
CONFIGS = sorted(name for name in FILES if name.endswith('_digits.py'))
TESTS = sorted(name for name in FILES if name.startswith('test_'))
# Names of earlier releases, and what they are called today.
ALIASES = dict(QuartersTask='HalfShiftTask', BlankImages='DummyImages')


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with configs/ and the files of docs/extending.md."""
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    modules, registered = set(sys.modules), {}
    for kind in (registry.MODELS, registry.TASK_UTILS):
        registered[kind] = dict(kind.module_dict)
    yield tmp_path
    # Other tests see the parts neither as modules nor as registered.
    for name in set(sys.modules) - modules:
        if f'{name}.py' in FILES:
            del sys.modules[name]
    for kind, parts in registered.items():
        for name in set(kind.module_dict) - set(parts):
            del kind.module_dict[name]


@pytest.mark.parametrize('name', CONFIGS)
def test_the_configs_of_extending_train(name, clone, tiny_config):
    cfg = tiny_config(config=clone / name)
    Runner.from_cfg(cfg).train()
    scalars = next(clone.glob('run/*/vis_data/scalars.json')).read_text()
    losses = cfg.default_hooks.synthesis.synthesizer.losses
    for loss in losses:
        assert f'synthesis/{loss}"' in scalars


@pytest.mark.parametrize('name', TESTS)
def test_the_tests_of_extending_pass(name, clone):
    tests = [
        value
        for key, value in runpy.run_path(clone / name).items()
        if key.startswith('test_')
    ]
    assert tests
    for test in tests:
        test()


def test_extending_has_an_example_of_each_kind():
    assert len(CONFIGS) == len(TESTS) == 4


def test_every_registered_part_is_listed():
    text = (ROOT / 'docs/parts.md').read_text()
    listed = set(re.findall(r'`(\w+)`', text))
    ours = {
        name
        for kind in vars(registry).values()
        if hasattr(kind, 'module_dict')
        for name, part in kind.module_dict.items()
        if part.__module__.startswith('csd_mmrazor.')
    }
    assert len(ours) > 30
    assert {ALIASES.get(name, name) for name in ours} <= listed

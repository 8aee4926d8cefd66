# Copyright (c) csd_mmrazor developers. All rights reserved.
import platform
import re
import subprocess
import sys

import mmrazor
import pytest
import torch
from helpers import ROOT

from csd_mmrazor import __version__, compat, env


@pytest.fixture(scope='module')
def printed():
    """What ``python -m csd_mmrazor.env`` prints on half a CPU."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-m', 'csd_mmrazor.env'],
        env=dict(
            env.os.environ,
            PYTHONPATH=str(ROOT),
            OMP_NUM_THREADS='1',
            ATEN_CPU_CAPABILITY='default',
        ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    'name, value',
    [
        ('csd_mmrazor', __version__),
        ('Python', platform.python_version()),
        ('torch', torch.__version__),
        ('mmrazor', mmrazor.__version__),
        ('threads', '1'),
        ('ATEN_CPU_CAPABILITY', 'default'),
    ],
)
def test_what_it_prints(printed, name, value):
    found = re.search(rf'^  {re.escape(name)} +(.+)$', printed, re.M)
    assert found[1].split('+')[0] == value.split('+')[0]


def test_the_instruction_set_in_use(printed):
    usual = env.devices()['CPU']
    assert torch.backends.cpu.get_cpu_capability() in usual
    assert re.search(r'^  CPU .*, (default|DEFAULT)$', printed, re.M)


def test_every_repair_is_listed(printed):
    assert compat.in_force()
    for name, needed in compat.in_force().items():
        state = 'in force' if needed else 'not needed'
        assert re.search(rf'^  {name} +{state}$', printed, re.M)


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(env, '_PACKAGES', ('no-such-package',))
    assert env.versions()['no-such-package'] == '-'

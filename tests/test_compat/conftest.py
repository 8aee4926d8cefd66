# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import subprocess
import sys
import textwrap

import pytest
from helpers import ROOT, TIMEOUT


@pytest.fixture(scope='session')
def python():
    """Run code in a new interpreter; returns what it printed."""

    def python(code, **env):
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)],
            env=dict(os.environ, PYTHONPATH=str(ROOT), **env),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return python

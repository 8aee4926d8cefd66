# Copyright (c) csd_mmrazor developers. All rights reserved.
import errno
import os
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from helpers import ROOT

from csd_mmrazor.cli.processes import _Lasting

WORK = """
import sys
from csd_mmrazor.cli.processes import speak_utf8
speak_utf8()
print('first', flush=True)
sys.stdin.read()  # until who reads the output has gone
for _ in range(3):
    print('more' * 9999)
    sys.stdout.flush()
open('done', 'w').close()
"""


def test_work_goes_on_when_its_output_is_not_read_any_more(tmp_path):
    work = subprocess.Popen(
        [sys.executable, '-c', WORK],
        cwd=tmp_path,
        env=dict(PYTHONPATH=str(ROOT)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert work.stdout.readline() == 'first\n'
    work.stdout.close()
    work.stdin.close()
    error = work.stderr.read()
    assert work.wait() == 0, error
    assert 'BrokenPipe' not in error and (tmp_path / 'done').exists()


@pytest.mark.parametrize('closed', ['stdout', 'stderr'])
def test_streams_that_were_closed(tmp_path, closed):
    """As by ``>&-``, and by what starts services."""
    number = dict(stdout=1, stderr=2)[closed]
    done = subprocess.run(
        [sys.executable, '-c', WORK],
        cwd=tmp_path,
        env=dict(PYTHONPATH=str(ROOT)),
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: os.close(number),
    )
    assert done.returncode == 0 and (tmp_path / 'done').exists()


@pytest.mark.parametrize('number, ends', [(errno.EIO, 0), (errno.ENOSPC, 1)])
def test_a_terminal_that_was_closed(tmp_path, number, ends):
    """The rest is dropped, but not what a full disk does not take."""

    def write(text):
        raise OSError(number, 'no')

    with open(tmp_path / 'out', 'w') as stream:
        lasting = _Lasting(SimpleNamespace(write=write, fileno=stream.fileno))
        with pytest.raises(OSError) if ends else nullcontext():
            assert lasting.write('text') == 4

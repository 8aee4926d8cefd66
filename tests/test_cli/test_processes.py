# Copyright (c) csd_mmrazor developers. All rights reserved.
import subprocess
import sys

from helpers import ROOT

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

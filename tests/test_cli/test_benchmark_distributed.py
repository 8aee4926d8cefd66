# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import sys

from helpers import ROOT, dump, free_port


def test_what_is_wrong_is_told_once(run):
    done = run(
        *(sys.executable, ROOT / 'tools/benchmark_distributed.py', 'no.py'),
        check=False,
    )
    assert done.returncode and 'no.py' in done.stderr
    assert 'Traceback' not in done.stderr


def test_two_processes(run, tiny_config, tmp_path):
    """They share a work dir, as those of a run do."""
    cfg = tiny_config()
    dump(cfg, tmp_path / 'config.py')
    done = run(
        *(sys.executable, ROOT / 'tools/benchmark_distributed.py'),
        *('config.py', '--processes', 2, '--repeats', 1, '--rounds', 1),
        *(
            '--iters',
            1,
            '--steps',
            1,
            '--port',
            free_port(),
            '--out',
            'out.json',
        ),
    )
    assert 'repeat 1, 2 processes' in done.stdout
    found = json.loads((tmp_path / 'out.json').read_text())
    assert [*found['per_second']] == ['2']
    assert all(
        value > 0
        for each in found['per_second'].values()
        for value in each.values()
    )

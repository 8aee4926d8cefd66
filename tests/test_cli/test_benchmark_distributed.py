# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import sys

import pytest
from helpers import ROOT, dump, free_port


def test_what_is_wrong_is_told_once(run):
    done = run(
        *(sys.executable, ROOT / 'tools/benchmark_distributed.py', 'no.py'),
        check=False,
    )
    assert done.returncode and 'no.py' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'words, message',
    [
        (['configs/teachers/resnet_digits.py'], 'give a config that has them'),
        (
            [
                *('configs/csd/csd_quickstart_digits.py', '--cfg-options'),
                'defualt_hooks.synthesis.rounds=3',
            ],
            'did you mean default_hooks.synthesis.rounds?',
        ),
    ],
    ids=['config', 'option'],
)
def test_what_cannot_be_timed(forked, words, message):
    path, *options = words
    done = forked(ROOT / path, *options, tool='benchmark_distributed.py')
    assert done.status == [1]
    assert message in done.stderr and 'Traceback' not in done.stderr


def test_processes_that_fail(run, tiny_config, tmp_path):
    dump(tiny_config(), tmp_path / 'config.py')
    done = run(
        *(sys.executable, ROOT / 'tools/benchmark_distributed.py'),
        *('config.py', '--processes', 1, '--port', 'none'),
        check=False,
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('RuntimeError: The run with --processes 1 failed.')


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

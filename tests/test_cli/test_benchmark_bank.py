# Copyright (c) csd_mmrazor developers. All rights reserved.
import multiprocessing
import re
import subprocess
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest

from csd_mmrazor.cli import benchmark_bank as module
from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.datasets.image_codec import ImageCodec


def pictures(number, size, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (number, 3, size, size), np.uint8)


@pytest.mark.parametrize('name, is_lossy', [('png', False), ('jpeg', True)])
def test_sizes_and_losses_of_formats(name, is_lossy):
    images = pictures(2, 16)
    codec = ImageCodec(name)
    coder = codec._encode, module._decoder(name, images.shape[1:])
    row = module._time(coder, images, repeats=1)
    size = sum(map(len, codec.encode(images))) / images.nbytes
    assert row['size'] == round(size, 3)
    error = np.abs(codec.as_kept(images).astype(int) - images).mean()
    assert row['mean_error'] == round(float(error), 2)
    assert (row['mean_error'] > 0) == is_lossy


def test_shards_are_all_there_when_they_are_timed(tmp_path):
    write_manifest = BankFolder.write_manifest
    rows = module.shards(Namespace(shards=[25, 40]), tmp_path)
    assert [row['shards'] for row in rows] == [25, 40]
    assert len(BankFolder(tmp_path / 'bank').shards) == 40
    assert BankFolder.write_manifest is write_manifest


BAD = [
    ('shards --shards 0', "--shards: should be an integer, 1 or more, .* '0'"),
    ('shards --shards 30 20', '--shards should ascend, but got .30, 20'),
    ('shards --shards x', "--shards: should be an integer, .* got 'x'"),
    ('shards --folder NONE', '--folder .*none is not a folder'),
    ('shards --out .', "--out: should be a file, but got '.'"),
    ('shards --out FILE/a.json', '--out: cannot be written to'),
    ('formats', 'formats needs --images, a folder .* but got None'),
    ('formats --images NONE', 'needs --images, .* but got .*none'),
    ('formats --images FEW', '--images .*few has 2 pictures, .* at least 16'),
    ('memory --images FEW', '--images .*few has 2 pictures, .* at least 256'),
    ('formats --images EMPTY', '--images .*empty: .*no image'),
    ('memory --formats gif', "--formats: invalid choice: 'gif'"),
    ('memory --limit nan', "--limit: should be a number above 0, .*'nan'"),
    ('memory --images MANY --limit 0.01', '--limit should be above .* GiB'),
    ('memory --images MANY --limit 999 --times 1e9', '--times 1e.09 of .* ta'),
    ('memory --times 0', '--times: should be a number above 0'),
    ('memory --shard 257', '--shard: should be an integer, 1 or more, at mos'),
    ('memory --batch 0', '--batch: should be an integer, 1 or more'),
    ('memory --buffer -1', '--buffer: should be an integer, 0 or more'),
    ('memory --step -1', '--step: should be a number, 0 or more'),
    ('memory --steps 0', '--steps: should be an integer, 1 or more'),
    ('memory --cores 100000', '--cores: should be an integer, .* at most'),
]


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp('folders')
    for name, count in dict(few=2, many=256, empty=0).items():
        (root / name / '0').mkdir(parents=True)
        for place in range(count):
            (root / name / '0' / f'{place}.png').touch()
    (root / 'file').touch()
    return root


@pytest.mark.parametrize('line, message', BAD)
def test_what_it_cannot_measure_is_named(
    folders, monkeypatch, capsys, line, message
):
    words = [
        str(folders / word.lower()) if word.isupper() else word
        for word in line.replace('FILE/', f'{folders}/file/').split()
    ]
    monkeypatch.setattr(module.sys, 'argv', ['benchmark_bank.py', *words])
    monkeypatch.setattr(module, 'shards', lambda *_: pytest.fail('work'))
    with pytest.raises(SystemExit) as caught:
        module.main()
    assert caught.value.code == 2
    assert re.search(f'error: .*{message}', capsys.readouterr().err)


def test_a_process_that_fails_is_told_in_a_line(monkeypatch):
    done = subprocess.CompletedProcess([], 1, '', 'Trace\nMemoryError: more')
    monkeypatch.setattr(module.subprocess, 'run', lambda *_, **__: done)
    monkeypatch.setattr(module, '__spec__', SimpleNamespace(name='it'))
    with pytest.raises(RuntimeError, match='--limit 3 has failed: MemoryErr'):
        module._run(dict(limit=3))


@pytest.mark.parametrize('buffer', [0, 2])
@pytest.mark.skipif(
    not hasattr(module.os, 'posix_fadvise'), reason='of Linux alone'
)
def test_what_is_measured_with_little_memory(tmp_path, buffer):
    """In a process of its own, which is the one with the limit."""
    bank = BankFolder(tmp_path, (3, 8, 8), 10)
    for number in range(4):
        labels = np.zeros(6, np.int64)
        images = pictures(6, 8, number)
        bank.append(images, labels, 0, number, write=True)
    context = multiprocessing.get_context('fork')
    with context.Pool(1) as pool:
        job = dict(limit=64, cores=1, buffer=buffer, step=1e-3, steps=8)
        row = pool.apply(
            module.read_small, (str(tmp_path),), dict(job, batch=3)
        )
    assert row['threads'] == 1
    assert row['images_per_s'] > 0
    assert 0 <= row['median_wait_ms'] <= row['most_wait_ms']
    assert 0 <= row['share_waiting'] <= 1

# Copyright (c) csd_mmrazor developers. All rights reserved.
import multiprocessing
from argparse import Namespace

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

# Copyright (c) csd_mmrazor developers. All rights reserved.
import gc
import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from csd_mmrazor.datasets.shard_files import (
    INDEX,
    npy_header,
    read_index,
    read_records,
)


def npy(records):
    file = io.BytesIO()
    np.save(file, records)
    return file.getvalue()


def an_index(count):
    records = np.zeros(count, INDEX)
    records['label'] = np.arange(count)
    records['size'] = 3
    return records


@pytest.mark.parametrize('count', [1, 6, 10**5])
def test_header_of_numpy(count):
    """Read what NumPy wrote, and NumPy what we wrote."""
    records = an_index(count)
    content = npy(records)
    found, end = read_records(content + b'more', INDEX, count)
    assert np.array_equal(found, records) and end == len(content)
    assert found.flags.writeable
    ours = npy_header(INDEX, count) + records.tobytes()
    assert np.array_equal(np.load(io.BytesIO(ours)), records)


def test_headers_padded_otherwise():
    """As NumPy before 1.14 wrote them: up to 16 bytes."""
    content = npy(an_index(6))
    start = len(content) - 6 * INDEX.itemsize
    text = content[10:start].rstrip()
    text += b' ' * (-(len(text) + 11) % 16) + b'\n'
    shorter = content[:8] + len(text).to_bytes(2, 'little') + text
    assert len(shorter) < start
    found, end = read_records(shorter + content[start:], INDEX, 6)
    assert np.array_equal(found, an_index(6))
    assert end == len(shorter) + 6 * INDEX.itemsize


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', 'not an .npy file'),
        (npy(an_index(2))[:9], 'a header'),
        (b'x' + npy(an_index(2))[1:], 'not an .npy file'),
        (npy(an_index(3)), r'a header .*\(3,\).*, not .*\(2,\)'),
        (npy(np.zeros(2)), 'a header .*<f8'),
        (npy(an_index(2))[:-1], '31 bytes of records, not 32'),
    ],
)
def test_other_files(content, message):
    with pytest.raises(ValueError, match=message):
        read_records(content, INDEX, 2)


def test_threads_that_read_at_once():
    """With collections of garbage in between, which let others run.

    ``numpy.load`` raises SystemError here in most calls of Python 3.11.
    """
    content = npy(an_index(6)) + bytes(18)
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()

    def let_others_run(phase, info):
        for _ in range(50):
            pass

    def read(_):
        return read_index(io.BytesIO(content), 6)[0].sum()

    gc.callbacks.append(let_others_run)
    gc.set_threshold(20, 2, 2)
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(read, range(2000))) == {15}
    finally:
        gc.callbacks.remove(let_others_run)
        gc.set_threshold(*threshold)
        sys.setswitchinterval(interval)

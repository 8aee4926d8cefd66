# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import subprocess
import sys

import pytest

from csd_mmrazor.utils import work_dir_lock, write_file


def test_writes_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'file'
    write_file(path, b'old')
    write_file(path, b'new')
    assert path.read_bytes() == b'new'
    with pytest.raises(TypeError):
        write_file(path, 'not bytes')
    with pytest.raises(OSError, match='No such file.*; not written.*lacking'):
        write_file(tmp_path / 'lacking' / 'file', b'')
    assert path.read_bytes() == b'new'
    assert os.listdir(tmp_path) == ['file']


def test_the_lock_keeps_others_out(tmp_path):
    """Another process is needed: a lock is no obstacle to its own."""
    work = tmp_path / 'a/b'
    code = (
        'import sys\n'
        'sys.path.insert(0, sys.argv[2])\n'
        'from files import work_dir_lock\n'
        'with work_dir_lock(sys.argv[1]): print("in")\n'
    )
    package = os.path.dirname(sys.modules[write_file.__module__].__file__)
    command = [sys.executable, '-c', code, str(work), package]

    def other():
        return subprocess.run(command, capture_output=True, text=True)

    with work_dir_lock(work):
        refused = other()
        assert 'Another run is in the work dir' in refused.stderr
        assert f'process {os.getpid()} on ' in refused.stderr
        assert not refused.stdout
    assert other().stdout == 'in\n'


def test_it_clears_away_what_killed_writers_left(tmp_path):
    (tmp_path / 'bank').mkdir()
    for name in ('.epoch_1.pth.123.tmp', 'bank/.000001.npy.4.tmp'):
        (tmp_path / name).write_text('')
    kept = ('notes.tmp', '.hidden', 'bank/000001.npy')
    for name in kept:
        (tmp_path / name).write_text('')
    with work_dir_lock(tmp_path):
        pass
    found = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob('*')}
    assert found == {*kept, '.lock', 'bank'}

# Copyright (c) csd_mmrazor developers. All rights reserved.
import os
import subprocess
import sys

import pytest

from csd_mmrazor.utils import (
    files,
    path_below,
    read_object,
    work_dir_lock,
    write_file,
)
from csd_mmrazor.utils.files import is_leftover, temporary_name


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
        'from files import path_below, work_dir_lock\n'
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
        assert 'hard links' not in refused.stderr
        # In a copy by hard links, it is the same file.
        os.link(work / '.lock', tmp_path / '.lock')
        command[3] = str(tmp_path)
        assert 'hard links: then delete the file .lock' in other().stderr
        (tmp_path / '.lock').unlink()
        assert other().stdout == 'in\n'
        command[3] = str(work)
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


def test_a_path_below(tmp_path):
    work = tmp_path / 'run'
    (work / 'a').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(work)
    assert path_below(work, 'bank', 'x') == work / 'bank'
    assert path_below(tmp_path / 'link', 'a/../b', 'x').parent.exists()
    path_below(work, str(work / 'bank'), 'x')


@pytest.mark.parametrize(
    'name',
    ['../bank', '../../x', 'a/../../bank', '', '.', 'link', 'link/a', '/x'],
)
def test_a_path_that_is_not_below(tmp_path, name):
    work = tmp_path / 'run'
    work.mkdir()
    (work / 'link').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(ValueError, match='x of y should be a path below'):
        path_below(work, name, 'x of y')


def test_no_two_writers_share_a_temporary_name(tmp_path, monkeypatch):
    """Nor do nodes whose processes have the same number and host name."""
    seen, replace = [], os.replace

    def noting(source, target):
        seen.append(source.name)
        replace(source, target)

    monkeypatch.setattr(os, 'replace', noting)
    for host in ('node1', 'node2', 'node2'):
        monkeypatch.setattr(files.socket, 'gethostname', lambda h=host: h)
        write_file(tmp_path / 'file', b'')
    assert len({*seen}) == 3
    assert len({name.split('.')[2].split('-')[0] for name in seen}) == 2
    assert all(f'-{os.getpid()}-' in name for name in seen)


def test_who_left_a_temporary_file(monkeypatch):
    gone = subprocess.Popen([sys.executable, '-c', ''])
    gone.wait()
    name = temporary_name('a.b')
    mine, parent = str(os.getpid()), str(os.getppid())
    assert is_leftover(name)  # of one of this number before
    assert is_leftover(name.replace(f'-{mine}-', f'-{gone.pid}-'))
    assert not is_leftover(name.replace(f'-{mine}-', f'-{parent}-'))
    assert not is_leftover(name.replace(f'-{mine}-', '-1-'))
    assert is_leftover(name.replace(f'-{mine}-', f'-{10**30}-'))
    monkeypatch.setattr(files.socket, 'gethostname', lambda: 'another')
    assert is_leftover(name)
    for other in ('.a.tmp', 'a.1.tmp', '.a.1b.tmp', '.a.1.tmp2', name[1:]):
        assert not is_leftover(other)


def test_a_file_that_another_node_swept_away_is_written_again(
    tmp_path, monkeypatch
):
    path, swept, replace = tmp_path / 'file', [], os.replace

    def sweeping(source, target):
        if len(swept) < 2:
            source.unlink()
            swept.append(source)
        replace(source, target)

    monkeypatch.setattr(os, 'replace', sweeping)
    write_file(path, b'new')
    assert path.read_bytes() == b'new' and len(swept) == 2
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize(
    'content, found',
    [
        (b'{"a": 1}', dict(a=1)),
        (b'[1]', {}),
        (b'{"a": 1, "a": 1}', {}),
        (b'{"a": ', {}),
        (b'\xff', {}),
        (b'[' * 100_000, {}),
        (b'{"a": "%s"}' % (b'[' * 200), dict(a='[' * 200)),
        (None, {}),
    ],
)
def test_what_is_no_object_of_json_says_nothing(content, found, tmp_path):
    path = tmp_path / 'a.json'
    if content is not None:
        path.write_bytes(content)
    assert read_object(path) == found
    assert read_object(tmp_path) == {}


def test_a_work_dir_that_is_a_file(tmp_path):
    file = tmp_path / 'run'
    file.touch()
    message = 'It is a file. The work dir .* choose another work_dir: '
    with (
        pytest.raises(OSError, match=message),
        work_dir_lock(file, 'work_dir'),
    ):
        pass


@pytest.mark.parametrize('content', [b'4711\n', b'\xff\xfe lock', b'proc'])
def test_a_lock_of_another_program_stays(tmp_path, content):
    path = tmp_path / '.lock'
    path.write_bytes(content)
    message = r'/\.lock is of another program, .* another work_dir, or delete'
    with pytest.raises(FileExistsError, match=message):
        with work_dir_lock(tmp_path, 'work_dir'):
            pass
    assert path.read_bytes() == content


@pytest.mark.parametrize('content', [b'', b'\0' * 24, b'process 7 on a host'])
def test_a_lock_that_was_left_is_taken(tmp_path, content):
    path = tmp_path / '.lock'
    path.write_bytes(content)
    with work_dir_lock(tmp_path):
        assert path.read_text().startswith(f'process {os.getpid()} on ')
    with work_dir_lock(tmp_path):  # once more, with what it left itself
        assert path.read_text().count('process') == 1


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    """In a work dir of others, which would empty a file."""
    file, work = tmp_path / 'precious', tmp_path / 'run'
    file.write_text('precious')
    work.mkdir()
    (work / '.lock').symlink_to(file)
    with pytest.raises(OSError, match='work dir'), work_dir_lock(work):
        pass
    assert file.read_text() == 'precious'

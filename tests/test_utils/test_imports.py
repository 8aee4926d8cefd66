# Copyright (c) csd_mmrazor developers. All rights reserved.
import sys

import pytest
import timm  # noqa: F401  whose name a file has
from helpers import ROOT

from csd_mmrazor.utils.imports import import_object, importing_beside


@pytest.fixture(autouse=True)
def _modules():
    """Leave those of the program as they are."""
    before, path = dict(sys.modules), list(sys.path)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    assert sys.path == path


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f'{name}.py').write_text(text)
    return folder


@pytest.mark.parametrize('level', ['.', ''])
def test_two_packages_of_one_name(tmp_path, level):
    """As most repositories have a folder ``nets_of_all``, say."""
    for name, width in (('one', 1), ('other', 2)):
        write(
            tmp_path / name / 'nets_of_all',
            __init__='',
            common=f'W = {width}',
            net=f'from {level or "nets_of_all."}common import W\n'
            'def make(): return W',
        )
    spec = '{}/{}/nets_of_all/net.py:make'
    assert import_object(spec.format(tmp_path, 'one'))() == 1
    with pytest.raises(ImportError, match="as 'nets_of_all' .*rename one"):
        import_object(spec.format(tmp_path, 'other'))
    assert import_object(spec.format(tmp_path, 'one'))() == 1


def test_two_neighbours_of_one_name(tmp_path):
    code = 'from parts_of_nets import W\ndef make(): return W'
    for name, width in (('one', 1), ('other', 2)):
        write(tmp_path / name, parts_of_nets=f'W = {width}', net_a=code)
    assert import_object(f'{tmp_path}/one/net_a.py:make')() == 1
    with pytest.raises(ImportError, match="as 'parts_of_nets' before"):
        import_object(f'{tmp_path}/other/net_a.py:make')
    # A file that has no such neighbour may have the same name.
    write(tmp_path / 'third', net_a='def make(): return 3')
    assert import_object(f'{tmp_path}/third/net_a.py:make')() == 3


@pytest.mark.parametrize('name', ['net_v1.0', 'net-1'])
def test_a_file_with_other_letters_in_its_name(tmp_path, name):
    write(tmp_path, **{name: 'class Net: pass\ndef make(): return Net'})
    found = import_object(f'{tmp_path}/{name}.py:make')
    assert found().__name__ == 'Net'
    assert import_object(f'{tmp_path}/{name}.py:make') is found


def test_neighbours_that_are_imported_when_it_is_made(tmp_path):
    write(
        tmp_path,
        late_parts='W = 4',
        late_net='def make():\n    from late_parts import W\n    return W',
    )
    spec = f'{tmp_path}/late_net.py:make'
    make = import_object(spec)
    with pytest.raises(ImportError):
        make()
    with importing_beside(spec):
        assert make() == 4


def test_what_is_no_namesake(tmp_path):
    """A file of the name of what it imports, and a clone of what is there."""
    write(tmp_path, timm='import timm\ndef make(): return timm.__name__')
    assert import_object(f'{tmp_path}/timm.py:make')() == 'timm'
    clone = write(tmp_path / 'csd_mmrazor', __init__='')
    (clone / 'csd_mmrazor').symlink_to(ROOT / 'csd_mmrazor')
    code = 'import csd_mmrazor\ndef make(): return csd_mmrazor.__file__'
    write(tmp_path, own=code)
    assert import_object(f'{tmp_path}/own.py:make')()

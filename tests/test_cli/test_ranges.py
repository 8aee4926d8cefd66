# Copyright (c) csd_mmrazor developers. All rights reserved.
import argparse

import pytest

from csd_mmrazor.cli.ranges import check_replaced, json_to_write


def test_json_replaces_json_alone(tmp_path):
    for name in ('new/a.json', 'old.json'):
        path = tmp_path / name
        assert json_to_write(str(path)) == str(path)
        (tmp_path / 'old.json').write_text('[{"images": 1}]')
    notes = tmp_path / 'notes.md'
    for content in (b'my notes', b'', b'\x80'):
        notes.write_bytes(content)
        with pytest.raises(argparse.ArgumentTypeError, match='notes.md. is t'):
            json_to_write(str(notes))


@pytest.mark.parametrize('name', ['a.md', 'a.png'])
def test_only_files_of_an_earlier_call_are_replaced(tmp_path, name):
    files = tmp_path / 'a.md', '| a |', tmp_path / 'a.png'
    check_replaced(*files)
    (tmp_path / name).write_text('mine')
    with pytest.raises(ValueError, match=f'{name} is there, .* another name'):
        check_replaced(*files)
    (tmp_path / 'a.md').write_text('| a | b |\n')
    check_replaced(*files)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
from card_helpers import export

from csd_mmrazor.cli.export_student import check_free
from csd_mmrazor.engine.hooks import ExportStudentHook
from csd_mmrazor.export.card import card_path


def test_nobodys_readme_is_overwritten(tmp_path):
    readme = tmp_path / 'README.md'
    assert export(tmp_path).card == readme
    # Its own is, another student's is not.
    check_free(str(tmp_path / 'out.pth'))
    assert export(tmp_path).card == readme
    assert export(tmp_path, 'b.pth').card == tmp_path / 'b.md'
    assert '# out\n' in readme.read_text()
    readme.write_bytes(b'Mine, \xff')
    assert export(tmp_path).card == tmp_path / 'out.md'
    assert readme.read_bytes() == b'Mine, \xff'
    readme.unlink()
    readme.mkdir()
    assert card_path(tmp_path / 'out.pth') == tmp_path / 'out.md'
    # Nor a file that has the name which a card takes then.
    (tmp_path / 'out.md').write_text('Mine as well')
    assert export(tmp_path).card == tmp_path / 'out_card.md'
    assert (tmp_path / 'out.md').read_text() == 'Mine as well'
    safe = tmp_path / 'new.safetensors'
    safe.touch()
    with pytest.raises(ValueError, match='new.safetensors is there'):
        check_free(str(tmp_path / 'new.pth'))


@pytest.mark.parametrize('value', ['', ' ', 3, ['mit']])
def test_a_licence_is_a_text(value):
    with pytest.raises(ValueError, match='teacher_license of ExportStudent'):
        ExportStudentHook(teacher_license=value)

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
from card_helpers import export
from helpers import front_of

from csd_mmrazor.engine.hooks import ExportStudentHook
from csd_mmrazor.export import check_free
from csd_mmrazor.export.card import card_path
from csd_mmrazor.export.card.layout import card_text, license_fields


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
    assert card_path(tmp_path / 'out.pth', True) == tmp_path / 'out.md'
    # Nor a file that has the name which a card takes then.
    (tmp_path / 'out.md').write_text('Mine as well')
    assert export(tmp_path).card == tmp_path / 'out_card.md'
    assert (tmp_path / 'out.md').read_text() == 'Mine as well'
    safe = tmp_path / 'new.safetensors'
    safe.touch()
    with pytest.raises(ValueError, match='new.safetensors is there'):
        check_free(str(tmp_path / 'new.pth'))


def test_a_project_gets_no_readme(tmp_path):
    """Whoever exports into a folder of something else names the file."""
    readme = tmp_path / 'README.md'
    for _ in range(2):
        exported = export(tmp_path, is_own_folder=False)
        assert exported.card == tmp_path / 'out.md' and not readme.exists()
    # One of an earlier release is not left behind.
    exported.card.rename(readme)
    assert export(tmp_path, is_own_folder=False).card == readme


@pytest.mark.parametrize('value', ['', ' ', 3, ['mit']])
def test_a_licence_is_a_text(value):
    with pytest.raises(ValueError, match='teacher_license of ExportStudent'):
        ExportStudentHook(teacher_license=value)


@pytest.mark.parametrize(
    'text, told',
    [
        ('apache-2.0', 'apache-2.0'),
        ('Apache 2.0', 'apache-2.0'),
        ('BSD 2-Clause', 'bsd-2-clause'),
        ('MIT', 'mit'),
        # What YAML would take for something else.
        ('yes', 'yes'),
        ('{a: b} # "c"', 'a-b-c'),
        ("Ours: see '~me/papers/LICENSE'", 'ours-see-license'),
        ('日本', 'see-below'),
    ],
)
def test_a_licence_is_one_that_the_hub_takes(text, told, tmp_path):
    found = license_fields(text.replace('~me/papers/', ''))
    assert told in (found['license'], found.get('license_name'))
    assert ('license_name' in found) == (found['license'] == 'other')
    card = tmp_path / 'README.md'
    about = [tmp_path / 'a.pth', 'A network.', {}, [], [], 'Good.', [], True]
    made = card_text(*about, text, 'Nothing.', 'One.')
    card.write_text(made, encoding='utf-8')
    front, body = front_of(card)
    assert front.items() >= found.items()
    assert 'papers' not in f'{front}{body}'

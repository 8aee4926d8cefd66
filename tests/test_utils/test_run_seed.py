# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.utils.run_seed import note_seed, noted_seed


def test_what_is_noted_is_found(tmp_path):
    assert noted_seed(tmp_path) is noted_seed(tmp_path / 'none') is None
    for seed in (0, 2**32 - 1):
        note_seed(tmp_path, seed)
        assert noted_seed(tmp_path) == seed


@pytest.mark.parametrize(
    'text', ['', 'x', '-1', '1.5', str(2**32), '9' * 5000, b'\xff', '1 2']
)
def test_what_no_run_notes_is_named(tmp_path, text):
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / 'seed.txt').write_bytes(content)
    with pytest.raises(ValueError, match='seed.txt should hold the seed'):
        noted_seed(tmp_path)
    with pytest.raises(ValueError, match='choose another work dir'):
        note_seed(tmp_path, 1)
    assert (tmp_path / 'seed.txt').read_bytes() == content

# Copyright (c) csd_mmrazor developers. All rights reserved.

import pytest

from csd_mmrazor.compat import versions


@pytest.mark.parametrize('missing', ['joblib', 'mmcv'])
def test_says_which_package_is_missing(python, missing):
    printed = python(f"""
        import sys
        sys.modules['{missing}'] = None  # as if it were not installed
        try:
            import csd_mmrazor
        except ImportError as error:
            print(error)
        """)
    assert f'pip install {missing}' in printed.replace('"', '')


def test_says_which_version_is_off(monkeypatch):
    monkeypatch.setitem(versions._SUPPORTED, 'mmrazor', ('2.0', '3.0'))
    with pytest.raises(ImportError, match=r'mmrazor>=2.0,<3.0, but mmrazor 1'):
        versions.check_versions()

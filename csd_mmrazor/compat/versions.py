# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The packages below this one, and the releases that it works with."""

import importlib
import re
import sys
from importlib import metadata
from importlib.util import find_spec

# What the tests were run with; the newest torch is a note, not a limit.
_SUPPORTED = {
    'torch': ('2.1', None),
    'mmengine': ('0.10.4', '1.0'),
    'mmcv': ('2.0.0', '2.1.1'),  # MMRazor asserts mmcv <= 2.1.0
    'mmpretrain': ('1.2.0', '2.0'),
    'mmrazor': ('1.0.0', '2.0'),
}


def check_versions() -> None:
    """Check that the packages are there, in releases that are known to work.

    Raises:
        ImportError: If one is missing or outside its range. ``mmcv`` may be
            ``mmcv`` or ``mmcv-lite``, which install the same package; none
            is ever put over the other. Or if MMRazor was imported earlier,
            and makes do without one.
    """
    for name, (lowest, below) in _SUPPORTED.items():
        wanted = f'{name}>={lowest}' + (f',<{below}' if below else '')
        if find_spec(name) is None:
            hint = ' (or mmcv-lite==2.1.0)' if name == 'mmcv' else ''
            raise ImportError(
                f'csd_mmrazor needs {name}, which is not '
                f'installed: pip install "{wanted}"{hint}'
            )
        found = _version(name)
        if _release(found) < _release(lowest) or (
            below and _release(found) >= _release(below)
        ):
            raise ImportError(
                f'csd_mmrazor needs {wanted}, but {name} {found} is installed.'
            )
    _check_order()


def _check_order() -> None:
    for name, module in [*sys.modules.items()]:
        if name.startswith('mmrazor.') and any(
            map(_replaces_mmcls, [*getattr(module, '__dict__', {}).values()])
        ):
            raise ImportError(
                f'{name} was imported before csd_mmrazor, and has made do '
                'without mmcls, so that parts of MMRazor cannot be built. '
                'Start Python anew, and import csd_mmrazor before mmrazor.'
            )


def _replaces_mmcls(value: object) -> bool:
    if getattr(value, '__name__', '') != 'PlaceHolder':
        return False
    cells = value.__init__.__closure__ or ()
    return any(cell.cell_contents == 'mmcls' for cell in cells)


def _version(name: str) -> str:
    for distribution in (name, f'{name}-lite'):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            pass
    return importlib.import_module(name).__version__


def _release(version: str) -> tuple:
    return tuple(map(int, re.findall(r'\d+', version.split('+')[0])[:3]))


def require_joblib() -> None:
    """MMRazor imports joblib without declaring it."""
    if find_spec('joblib') is None:
        raise ImportError(
            'mmrazor 1.0.0 imports joblib without declaring it: '
            'run "pip install joblib".'
        )

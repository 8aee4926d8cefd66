# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What mmcv-lite does not have of mmcv."""

import functools
import warnings
from importlib.util import find_spec
from typing import Optional

_BUILD = 'https://mmcv.readthedocs.io/en/latest/get_started/build.html'


def import_lite_without_a_warning() -> Optional[bool]:
    """mmcv-lite warns of an operator that it lacks, whoever imports it.

    Nothing here uses it. Who does is told by the error when it is imported.
    """
    if find_spec('mmcv._ext'):
        return False
    warnings.filterwarnings(
        'ignore',
        'Fail to import ``MultiScaleDeformableAttention``',
        UserWarning,
        r'mmcv\.cnn\.bricks\.transformer',
    )


def explain_missing_operators() -> Optional[bool]:
    """mmcv-lite has no compiled operators, and says ``mmcv._ext`` is missing.

    mmdet, mmseg and mmpose import them, whatever a config uses. The error
    says what is missing and where mmcv's instructions are.
    """
    try:
        from mmcv.utils import ext_loader
    except ImportError:
        return False
    load_ext = getattr(ext_loader, 'load_ext', None)
    if load_ext is None:
        return False

    @functools.wraps(load_ext)
    def load(name, funcs):
        try:
            return load_ext(name, funcs)
        except ModuleNotFoundError as error:
            if error.name != f'mmcv.{name}':
                raise
            raise ModuleNotFoundError(
                f'{error.msg}: this is mmcv-lite, without the compiled '
                'operators that mmdet, mmseg and mmpose import. Uninstall '
                'mmcv-lite and build mmcv for this PyTorch, from its source: '
                f'{_BUILD}',
                name=error.name,
            ) from error

    ext_loader.load_ext = load

# Copyright (c) csd_mmrazor developers. All rights reserved.
import sys
import types
from importlib.util import find_spec

import pytest
from mmcv.utils import ext_loader


def test_the_import_warns_of_nothing_that_lite_lacks(python):
    printed = python("""
        import warnings
        warnings.simplefilter('default')
        told = []
        warnings.showwarning = lambda text, *_, **__: told.append(str(text))
        import csd_mmrazor
        import mmcv.cnn.bricks.transformer
        print(any('MultiScaleDeformable' in text for text in told))
        warnings.warn('Fail to import ``MultiScaleDeformableAttention``')
        print(len(told) > 0)
    """)
    assert printed.split()[-2:] == ['False', 'True']


def test_missing_operators_are_explained():
    if find_spec('mmcv._ext'):
        pytest.skip('mmcv is compiled')
    with pytest.raises(ModuleNotFoundError, match=r'mmcv\._ext.*mmcv-lite'):
        import mmcv.ops  # noqa: F401


def test_operators_that_are_there_are_found(monkeypatch):
    there = types.ModuleType('mmcv._there')
    there.nms = print
    monkeypatch.setitem(sys.modules, 'mmcv._there', there)
    assert ext_loader.load_ext('_there', ['nms']) is there


def test_what_operators_lack_themselves_is_not_explained(monkeypatch):
    def import_module(name):
        raise ModuleNotFoundError("No module named 'other'", name='other')

    monkeypatch.setattr(ext_loader.importlib, 'import_module', import_module)
    with pytest.raises(ModuleNotFoundError, match="No module named 'other'$"):
        ext_loader.load_ext('_ext', ['nms'])

# Copyright (c) csd_mmrazor developers. All rights reserved.
import collections
from importlib.util import find_spec

import torch
from mmrazor.registry import MODELS

from csd_mmrazor import compat


def test_mmrazor_registers_all_modules_in_a_new_process(python):
    printed = python("""
        import csd_mmrazor
        from mmrazor.utils import register_all_modules
        register_all_modules()
        from mmrazor.registry import MODELS
        print(all(MODELS.get(name) for name in (
            'DAFLDataFreeDistillation', 'ConfigurableDistiller',
            'CSDDistillation', 'CSDGenerator')))
        """)
    assert printed.split()[-1] == 'True'


def test_a_second_apply_changes_nothing():
    train_step = MODELS.get('DataFreeDistillation').train_step
    compat.apply()
    assert MODELS.get('DataFreeDistillation').train_step is train_step


def test_repairs_say_whether_they_were_needed():
    """Each that looks for its cause reports what it found."""
    found = compat.in_force()
    # MMRazor 1.0 always lacks these two, and torch 2.6 the third.
    assert found['keep_teachers_out_of_checkpoints']
    assert found['write_checkpoints_atomically']
    assert found['build_backend_configs']
    # What stands in is faster than these, where they are there.
    assert found['find_packages_without_setuptools']
    assert not found['import_without_quantization']
    # Those that depend on what is installed agree with it.
    for name, is_right in (
        ('launch_without_cuda', torch.cuda.is_available()),
        ('read_mmcls_as_mmpretrain', bool(find_spec('mmcls'))),
        (
            'convert_sequentials_of_dicts',
            isinstance(torch.nn.Module()._modules, collections.OrderedDict),
        ),
    ):
        assert found[name] is not is_right, name
    # A caller's copy is its own.
    compat.in_force().clear()
    assert compat.in_force() == found


def test_repairs_are_inert_where_the_cause_is_absent(monkeypatch):
    from mmengine import hub
    from mmengine.utils import package_utils

    from csd_mmrazor.compat import mmcls, mmengine, versions

    before = [hub.get_config, package_utils.is_installed]
    for module in (mmengine, versions):
        monkeypatch.setattr(module, 'find_spec', lambda name: object())
    monkeypatch.setattr(mmcls, '_is_installed', lambda: True)
    assert mmcls.read_mmcls_as_mmpretrain() is False
    assert mmcls.import_mmcls_from_mmpretrain() is False
    with monkeypatch.context() as windows:
        windows.setattr(mmengine.sys, 'platform', 'win32')
        assert mmengine.report_environment_without_distutils() is False
    versions.require_joblib()
    assert before == [hub.get_config, package_utils.is_installed]

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from helpers import build
from mmpretrain.models.backbones.mixmim import MixMIMBlock
from mmpretrain.models.utils.attention import ShiftWindowMSA
from test_models.test_families import FAMILIES

from csd_mmrazor import compat
from csd_mmrazor.export import export_program


@pytest.mark.parametrize('cls', [ShiftWindowMSA, MixMIMBlock])
@pytest.mark.parametrize('size', [(4, 4), (4, 8)])
def test_windows_come_together_as_they_were(cls, size):
    maps = torch.randn(3, *size, 5)
    windows = cls.window_partition(maps, 2)
    found = cls.window_reverse(windows, *size, 2)
    assert torch.equal(found, maps) and found.is_contiguous()


def test_swin_is_exported_for_any_batch(tmp_path):
    """The program is compared with the network for 1 and 3 images."""
    assert 'export_windows_of_any_batch' in compat.in_force()
    model = build(FAMILIES['SwinTransformer']).eval()
    assert export_program(model, (3, 32, 32), tmp_path / 'swin.pt2') < 1e-5

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from mmengine.device import get_device
from mmengine.device import utils as device_utils
from mmengine.dist import utils
from mmengine.model import MMDistributedDataParallel

from csd_mmrazor.compat.launcher import launch_without_cuda, take_no_mps


def test_gpus_are_launched_as_they_are(monkeypatch):
    before = utils._init_dist_pytorch, MMDistributedDataParallel.__init__
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert launch_without_cuda() is False
    assert before == (
        utils._init_dist_pytorch,
        MMDistributedDataParallel.__init__,
    )


@pytest.mark.parametrize('device', ['cpu', 'cuda', 'mps'])
def test_no_device_without_float64_is_chosen(monkeypatch, device):
    monkeypatch.setattr(device_utils, 'DEVICE', device)
    if device != 'mps':
        assert take_no_mps() is False and get_device() == device
        return
    with pytest.warns(UserWarning, match="'cpu' in place of 'mps'"):
        assert take_no_mps() is None
    assert get_device() == 'cpu'

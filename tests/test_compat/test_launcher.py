# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch
from mmengine.dist import utils
from mmengine.model import MMDistributedDataParallel

from csd_mmrazor.compat.launcher import launch_without_cuda


def test_gpus_are_launched_as_they_are(monkeypatch):
    before = utils._init_dist_pytorch, MMDistributedDataParallel.__init__
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert launch_without_cuda() is False
    assert before == (
        utils._init_dist_pytorch,
        MMDistributedDataParallel.__init__,
    )

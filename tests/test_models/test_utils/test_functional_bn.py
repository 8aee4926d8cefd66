# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from csd_mmrazor.models.utils import functional_bn


class Function(nn.Module):
    def __init__(self, training):
        super().__init__()
        self.by_batch = training
        self.register_buffer('means', torch.zeros(4))
        self.register_buffer('variances', torch.ones(4))

    def forward(self, maps):
        return F.batch_norm(
            maps, self.means, self.variances, training=self.by_batch
        )


@pytest.mark.parametrize(
    'layer, expected',
    [
        (Function(False), [False]),
        (Function(True), [True]),
        (nn.InstanceNorm2d(4, track_running_stats=True), [False]),
        (nn.InstanceNorm2d(4), []),
        (nn.BatchNorm2d(4), []),
        (nn.SyncBatchNorm(4), []),
        (nn.BatchNorm2d(4, track_running_stats=False), []),
        (FrozenBatchNorm2d(4), []),
        (nn.GroupNorm(2, 4), []),
    ],
)
def test_what_is_no_layer(layer, expected):
    network = nn.Sequential(nn.Conv2d(1, 4, 3), layer).eval()
    images = torch.randn(3, 1, 8, 8, requires_grad=True)
    plain = network(images)
    with functional_bn(network) as calls:
        found = network(images)
    assert calls == expected
    torch.testing.assert_close(found, plain)
    found.sum().backward()
    assert images.grad.isfinite().all()
    network(images)
    assert calls == expected  # it has ended

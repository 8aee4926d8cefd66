# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from torch import nn

from csd_mmrazor.models.utils import unwrapped


def parallel(module):
    """DataParallel as on a machine with a GPU, which refuses the CPU."""
    wrapper = nn.DataParallel(module)
    wrapper.device_ids, wrapper.src_device_obj = [0], torch.device('cuda:0')
    return wrapper


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())


def test_a_network_without_wrappers_is_itself():
    plain = net()
    assert unwrapped(plain) is plain
    assert unwrapped(parallel(parallel(plain))) is plain


def test_wrappers_at_any_depth():
    plain = net()
    body = parallel(nn.Sequential(parallel(plain), nn.Flatten()))
    whole = nn.Sequential(body, nn.Linear(16, 2)).eval()
    whole.known_by_another_name = [body]
    images = torch.randn(2, 3, 2, 2)
    with pytest.raises(RuntimeError, match='on device cuda:0'):
        whole(images)
    names, bare = [*whole.state_dict()], unwrapped(parallel(whole))
    assert bare(images).shape == (2, 2) and not bare.training
    assert bare.known_by_another_name == [bare[0]]
    # With the same weights, and the whole one is as it was.
    assert [
        *whole.state_dict()
    ] == names and '0.module.0.module.0.bias' in names
    assert [*bare.state_dict()] == [n.replace('module.', '') for n in names]
    for one, two in zip(
        whole.state_dict().values(), bare.state_dict().values()
    ):
        assert one.data_ptr() == two.data_ptr()
    assert all(
        one is two for one, two in zip(whole.parameters(), bare.parameters())
    )

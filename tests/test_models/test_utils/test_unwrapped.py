# Copyright (c) csd_mmrazor developers. All rights reserved.
import pickle
from copy import deepcopy

import pytest
import torch
from torch import nn

from csd_mmrazor.models.utils import bn_layers, unwrapped


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


class AsksWrapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.DataParallel(nn.DataParallel(net()))

    def forward(self, images):
        return self.body.module.module(images)


def test_a_forward_that_asks_its_wrapper_for_the_part():
    whole = AsksWrapper().eval()
    bare, images = unwrapped(whole), torch.randn(2, 3, 2, 2)
    names = [*net().state_dict(prefix='body.')]
    for each in (bare, deepcopy(bare), pickle.loads(pickle.dumps(bare))):
        assert torch.equal(each(images), whole(images))
        assert [*each.state_dict()] == names
        assert not any(isinstance(p, nn.DataParallel) for p in each.modules())
        # Nothing of it leads to another network.
        assert each.body.module is each.body


@pytest.mark.parametrize('decomposed', [False, True])
@pytest.mark.filterwarnings('ignore')
def test_exported_graphs_get_bn_layers(decomposed):
    """Which compute the same, with the same weights by the same names."""
    plain = nn.Sequential(
        net(),
        nn.Flatten(),
        nn.BatchNorm1d(16, affine=False, eps=0.1),
        nn.BatchNorm1d(16, momentum=None),
    )
    plain(torch.randn(8, 3, 2, 2))
    sizes = ({0: torch.export.Dim('batch', min=2)},)
    images = torch.randn(5, 3, 2, 2)
    program = torch.export.export(
        plain.eval(), (images,), dynamic_shapes=sizes
    )
    if decomposed:
        program = program.run_decompositions()
    graph = program.module()
    whole = nn.Sequential(graph, nn.Identity())
    for given in graph, whole:
        found = unwrapped(given)
        assert [type(each) for each in bn_layers(found)] == [
            nn.BatchNorm2d,
            nn.BatchNorm1d,
            nn.BatchNorm1d,
        ]
        momenta = [layer.momentum for layer in bn_layers(found)]
        assert momenta.count(None) == 1
        kinds = {type(part) for part in given.modules()}
        assert not kinds & {nn.BatchNorm2d, nn.BatchNorm1d}
        torch.testing.assert_close(found(images), plain(images))
        assert [*found.state_dict()] == [*given.state_dict()]
        for one, two in zip(found.parameters(), given.parameters()):
            assert one is two
        for one, two in zip(found.buffers(), given.buffers()):
            assert one is two
        found.train()
        assert all(layer.training for layer in bn_layers(found))
    # What normalises by the batch is no BN layer in eval mode.
    plain[3].momentum = 0.1
    program = torch.export.export(plain.train(), (images,))
    graph = program.module()
    assert unwrapped(graph) is graph

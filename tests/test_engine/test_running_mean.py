# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch
import torch.nn as nn
from helpers import Cached

from csd_mmrazor.engine.running_mean import RunningMean


class Network(nn.Module):
    """Has what a mean is easily wrong for."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.tied = nn.Linear(3, 3)
        self.tied.weight = self.a.weight
        self.phase = nn.Parameter(torch.randn(4, dtype=torch.complex64))
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer('mask', torch.zeros(3, dtype=torch.bool))
        self.register_buffer('cache', torch.zeros(2), persistent=False)

    def get_extra_state(self):
        return dict(version=1)

    def set_extra_state(self, state):
        pass


def test_the_mean_of_any_network():
    torch.manual_seed(0)
    network = Network()
    mean = RunningMean(network, share=0.25)
    states = []
    for _ in range(7):
        for value in network.parameters():
            value.data = torch.randn_like(value)
        network.norm(torch.randn(8, 3))
        network.mask.logical_not_()
        mean.update_parameters(network)
        states.append({k: v.clone() for k, v in tensors(network).items()})
    found = tensors(mean.module)
    assert [*found] == [*states[-1]]
    for name, value in found.items():
        if value.dtype in (torch.bool, torch.int64):
            expected = states[-1][name]
        else:  # of as many steps as there are, up to four
            expected = states[0][name]
            for step, state in enumerate(states[1:], 2):
                share = max(1 / step, 0.25)
                expected = (1 - share) * expected + share * state[name]
        torch.testing.assert_close(value, expected, msg=name)
    assert found['norm.num_batches_tracked'] == 7
    assert mean.module.tied.weight is mean.module.a.weight
    # As a checkpoint keeps it.
    other = RunningMean(Network(), share=0.25)
    other.load_state_dict(mean.state_dict())
    assert int(other.steps) == 7
    other.update_parameters(network)
    mean.update_parameters(network)
    torch.testing.assert_close(
        tensors(other.module), tensors(mean.module), rtol=0, atol=0
    )


def tensors(network):
    return {k: v for k, v in network.state_dict().items() if k[:1] != '_'}


def test_what_layers_keep_for_eval_mode_is_of_the_latest_mean():
    network, x = Cached(3, 2), torch.ones(1, 3)
    mean = RunningMean(network, 0.5)
    mean.module.eval()
    for step in range(3):
        network.weight.data += step + 1
        mean.update_parameters(network)
        weight, bias = mean.module.weight, mean.module.bias
        torch.testing.assert_close(mean.module(x), x @ weight.t() + bias)
        assert not mean.module.training

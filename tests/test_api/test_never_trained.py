# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from torch import nn

from csd_mmrazor.api.never_trained import signs_of_random_weights


class AsInRuns(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, inputs, mode):
        return self.net(inputs)


def signs(net):
    values = torch.full((1, 1, 1), 100.0)
    return signs_of_random_weights(AsInRuns(net), 1, 12, 12, values, values)


def test_batch_norm_tells(net, teacher):
    assert 'BN layers have the statistics of new ones' in signs(net(16))
    assert signs(teacher) == ''


@pytest.mark.parametrize('is_trained', [True, False])
def test_without_batch_norm(is_trained):
    """Trained for a moment, to tell light images from dark ones."""
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 3))
    )
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(20 * is_trained):
        labels = torch.randint(3, (64,))
        images = torch.randn(64, 1, 12, 12) + (labels - 1).view(-1, 1, 1, 1)
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert ('none of 40' in signs(network)) == (not is_trained)


@pytest.mark.parametrize(
    'change, is_told',
    [
        (lambda conv, norm, last: None, True),
        (lambda conv, norm, last: last.bias.fill_(-4), True),
        (lambda conv, norm, last: norm.weight.zero_(), True),
        (lambda conv, norm, last: conv.weight.normal_(0, 0.5), True),
        # As a few steps leave them, before any answer is sure.
        (lambda conv, norm, last: conv.bias[0].add_(1), False),
        (lambda conv, norm, last: norm.bias[0].add_(1e-3), False),
        (lambda conv, norm, last: norm.weight[0].add_(1e-3), False),
        (lambda conv, norm, last: last.bias[0].add_(0.1), False),
    ],
)
def test_what_has_learned_a_little(change, is_told):
    torch.manual_seed(0)
    parts = nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.Linear(800, 3)
    with torch.no_grad():
        change(*parts)
    network = nn.Sequential(*parts[:2], nn.Flatten(), parts[2])
    network[3].weight.data.mul_(0.1)  # so that it is unsure in any case
    assert ('none of 40' in signs(network)) == is_told

# Copyright (c) csd_mmrazor developers. All rights reserved.
import json
import sys

import pytest
import torch
import torch.nn as nn

from csd_mmrazor.cli import benchmark_generators
from csd_mmrazor.cli.benchmark_generators import cost


class Tiny(nn.Module):
    """A linear layer, a convolution and something that keeps its result."""

    latent_dim = 5

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 2 * 4 * 4)
        self.conv = nn.Conv2d(2, 3, 3, padding=1, bias=False)

    def forward(self, data, batch_size):
        return self.conv(self.linear(data).view(-1, 2, 4, 4)).sigmoid()


def test_cost_of_a_pass():
    found = cost(Tiny(), images=2)
    assert found['weights'] == 5 * 32 + 32 + 9 * 2 * 3
    assert found['multiplications'] == 5 * 32 + 9 * 2 * 3 * 16
    # Latents, the input of the convolution, and the result of the sigmoid.
    assert found['saved_bytes'] == 4 * (5 + 32 + 48)


def test_the_tool(tmp_path, monkeypatch, capsys):
    out = tmp_path / 'generators.json'
    monkeypatch.setattr(
        sys, 'argv', ['tool', '--sizes', '8', '16', '--out', str(out)]
    )
    state = torch.get_rng_state()
    benchmark_generators.main()
    torch.set_rng_state(state)
    found = json.loads(out.read_text())
    assert {name: [*sizes] for name, sizes in found.items()} == dict.fromkeys(
        benchmark_generators.GENERATORS, ['8', '16']
    )
    pyramid = found['PyramidGenerator']['16']
    assert pyramid['multiplications'] == pytest.approx(
        # Linear to 96 maps of 4x4; 96 > 48 > 24 > 3 channels.
        256 * 96 * 16 + 9 * (96 * 48 * 64 + 48 * 24 * 256 + 24 * 3 * 256)
    )
    assert 'CSDGenerator at 8' in capsys.readouterr().out

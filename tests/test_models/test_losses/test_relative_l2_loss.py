# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from helpers import build


def test_by_hand():
    s = torch.tensor([[1.0, 2.0], [0.0, 5.0]])
    t = torch.tensor([[3.0, 2.0], [0.0, 4.0]])
    loss = build(dict(type='RelativeL2Loss', loss_weight=2.0))
    # 2 * (4 + 1) / (9 + 4 + 16)
    assert loss(s, t).item() == pytest.approx(10 / 29)
    assert loss(0 * s, t).item() == pytest.approx(2)
    assert loss(1e3 * s, 1e3 * t).item() == pytest.approx(10 / 29)
    assert loss(0 * s, 0 * t).item() == 0


def test_other_shapes(scope):
    loss = build(dict(type='RelativeL2Loss'))
    with pytest.raises(ValueError, match=r'got \(2, 3\) of .* AlignConnector'):
        loss(torch.ones(2, 3), torch.ones(2, 4))

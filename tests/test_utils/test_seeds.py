# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch

from csd_mmrazor.utils.seeds import derive_seed, seeded

CPU = torch.device('cpu')


def test_seeds_of_their_own():
    seeds = {
        derive_seed(s, a, b) for s in (0, 1) for a in range(9) for b in (1, 2)
    }
    assert len(seeds) == 36
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert derive_seed(3, 5) == derive_seed(3, 5, 0)


def test_draws_from_a_seed_leave_no_trace(monkeypatch):
    """Nor on GPUs, whose state would not come back."""
    monkeypatch.setattr(
        torch.cuda, 'manual_seed_all', lambda seed: pytest.fail('a GPU')
    )
    before = torch.get_rng_state()
    with seeded(7, CPU):
        first = torch.rand(3)
    assert torch.equal(before, torch.get_rng_state())
    with seeded(7, CPU):
        assert torch.equal(first, torch.rand(3))
    with seeded(None, CPU):
        drawn = torch.rand(3)
    torch.set_rng_state(before)
    assert torch.equal(drawn, torch.rand(3))

# Copyright (c) csd_mmrazor developers. All rights reserved.
from collections import Counter

import pytest
import torch

from csd_mmrazor.datasets import BankSampler, bank_sampler
from csd_mmrazor.datasets.bank_sampler import balanced_draws


@pytest.mark.parametrize('length, num', [(10, 25), (10, 10), (10, 7), (1, 3)])
def test_draws_are_even(length, num):
    draws = balanced_draws(length, num, torch.Generator().manual_seed(0))
    counts = Counter(draws.tolist())
    assert len(draws) == num
    values = [counts[i] for i in range(length)]
    assert max(values) - min(values) <= 1


def test_a_fixed_number_of_draws_as_the_bank_grows():
    bank = []
    sampler = BankSampler(bank, num_samples=30, seed=0)
    assert len(sampler) == 30
    for size in (5, 12, 50):
        bank[:] = range(size)
        draws = list(sampler)
        assert len(draws) == 30
        assert set(draws) <= set(range(size))
        assert size > 30 or set(draws) == set(range(size))


def test_epochs_differ_and_repeat():
    def draws(seed, epoch):
        sampler = BankSampler(range(100), num_samples=100, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert draws(0, 3) == draws(0, 3)
    assert draws(0, 3) != draws(0, 4)
    assert draws(0, 3) != draws(1, 3)


def test_processes_share_the_draws(monkeypatch):
    parts = []
    for rank in range(3):
        monkeypatch.setattr(
            bank_sampler, 'get_dist_info', lambda rank=rank: (rank, 3)
        )
        sampler = BankSampler(range(20), num_samples=20, seed=0)
        parts.append(list(sampler))
        assert len(sampler) == len(parts[-1]) == 6
    monkeypatch.undo()
    together = sum(parts, [])
    assert len(set(together)) == 18


@pytest.mark.parametrize('num', [0, -1, 1.5])
def test_bad_arguments(num):
    with pytest.raises(ValueError, match=f'num_samples .* but got {num}'):
        BankSampler(range(3), num_samples=num, seed=0)

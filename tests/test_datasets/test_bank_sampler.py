# Copyright (c) csd_mmrazor developers. All rights reserved.
from collections import Counter

import numpy as np
import pytest
import torch

from csd_mmrazor.datasets import BankSampler, bank_sampler
from csd_mmrazor.datasets.bank_sampler import balanced_draws, block_draws


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


def draws_of(counts, num, buffer, seed):
    generator = torch.Generator().manual_seed(seed)
    return block_draws(counts, num, buffer, generator).numpy()


EQUAL, UNEQUAL = (6,) * 12, (1, 9, 4, 2, 30, 6, 1, 7, 3, 5)


@pytest.mark.parametrize('counts', [EQUAL, UNEQUAL, (4,), (1,) * 30])
@pytest.mark.parametrize('buffer', [1, 3, 10, 1000])
@pytest.mark.parametrize('num', [7, 100, 1000])
def test_blocks_draw_each_image_as_often(counts, buffer, num):
    length = sum(counts)
    exact = balanced_draws(length, num, torch.Generator().manual_seed(0))
    found, wanted = (
        np.sort(np.bincount(draws, minlength=length))
        for draws in (draws_of(counts, num, buffer, 0), exact.numpy())
    )
    assert found.sum() == num and found[-1] - found[0] <= 1
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize('counts', [EQUAL, UNEQUAL])
@pytest.mark.parametrize('buffer', [1, 2, 5])
def test_blocks_read_few_shards_at_a_time(counts, buffer):
    """Each shard from when it comes in until it goes, and no more."""
    shard_of = np.repeat(range(len(counts)), counts)
    length = sum(counts)
    for seed in range(20):
        shards = shard_of[draws_of(counts, length, buffer, seed)]
        active = np.zeros(length)
        for number in range(len(counts)):
            places = np.flatnonzero(shards == number)
            # Round the circle: the longest stretch without it is outside.
            gaps = np.diff(np.append(places, places[0] + length))
            start = places[(gaps.argmax() + 1) % len(places)]
            span = length - gaps.max() + 1
            active[(start + np.arange(span)) % length] += 1
        assert active.max() <= buffer + 1


def places_of(draw, length, epochs):
    """Where in the pass each image is, (epochs, length)."""
    places = np.empty((epochs, length))
    for seed in range(epochs):
        places[seed, draw(seed)] = np.arange(length)
    return places


def exact_draw(length):
    return lambda seed: balanced_draws(
        length, length, torch.Generator().manual_seed(seed)
    ).numpy()


@pytest.mark.parametrize('buffer', [1, 3, 12])
def test_each_image_is_anywhere_in_the_pass_as_often_as_exactly(buffer):
    """Mean and deviation of its place, over 600 passes, are those exactly."""
    length, epochs = sum(EQUAL), 600
    mean, deviation = (length - 1) / 2, np.sqrt((length**2 - 1) / 12)
    for draw in (
        exact_draw(length),
        lambda seed: draws_of(EQUAL, length, buffer, seed),
    ):
        places = places_of(draw, length, epochs)
        error = deviation / np.sqrt(epochs)
        assert np.abs(places.mean(0) - mean).max() < 4.5 * error
        assert np.allclose(places.std(0), deviation, rtol=0.1)
        # In a part of an epoch too, as where a bank is larger than it.
        drawn = (places < 20).sum(0)
        share = 20 / length
        error = np.sqrt(epochs * share * (1 - share))
        assert np.abs(drawn - epochs * share).max() < 4.5 * error


def test_a_buffer_of_all_shards_is_the_exact_sampler():
    """Any two images are as far apart, whether of one shard or of two."""
    length, epochs = sum(EQUAL), 600
    expected = (length + 1) / 3  # mean distance of two places
    for buffer, is_exact in ((12, True), (100, True), (2, False)):
        places = places_of(
            lambda seed, buffer=buffer: draws_of(EQUAL, length, buffer, seed),
            length,
            epochs,
        )
        near = np.abs(places[:, :-1:6] - places[:, 1::6]).mean()
        far = np.abs(places[:, :30] - places[:, 36:66]).mean()
        assert (abs(near / expected - 1) < 0.05) == is_exact
        assert abs(far / expected - 1) < (0.05 if is_exact else 0.15)


def test_batches_are_as_mixed_as_the_buffer_is_large():
    """Variance of the mean of a batch, where all of a shard have one value.

    With B of S shards at a time it is that of exact draws, and what those
    at a time differ from all by, about 1 / B of the variance.
    """
    counts, batch, epochs = (50,) * 40, 50, 40
    values = np.random.default_rng(0).standard_normal(40)
    values = np.repeat((values - values.mean()) / values.std(), 50)

    def variance(draw):
        means = [
            values[draw(seed)].reshape(-1, batch).mean(1)
            for seed in range(epochs)
        ]
        return np.square(means).mean()

    exact = variance(exact_draw(2000))
    found = [
        variance(lambda seed, b=b: draws_of(counts, 2000, b, seed))
        for b in (1, 4, 10, 40)
    ]
    assert abs(exact * batch - 1) < 0.15
    assert found == sorted(found, reverse=True)
    assert abs(found[-1] / exact - 1) < 0.15
    for buffer, each in zip((4, 10), found[1:]):
        assert 0.3 / buffer < each - exact < 1.3 / buffer


class Bank:
    """As much of an image bank as a sampler sees."""

    def __init__(self, counts):
        self.counts, self.orders = counts, []

    @property
    def opened(self):
        return self

    @property
    def shards(self):
        from csd_mmrazor.datasets.manifest import Shard

        return [
            Shard(f'{number:06d}.npy', count, '0' * 64, 0, number)
            for number, count in enumerate(self.counts)
        ]

    def __len__(self):
        return sum(self.counts)

    def expect(self, order, whole_shards):
        self.orders.append((order, whole_shards))


@pytest.mark.parametrize('buffer', [0, 2])
def test_the_bank_is_told_the_order(buffer):
    bank = Bank([5, 5, 5])
    sampler = BankSampler(bank, 12, seed=0, buffer_shards=buffer)
    for epoch, size in enumerate((3, 9)):
        bank.counts = [5] * size
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert bank.orders[-1] == (order, buffer)
        assert order == list(sampler)
        other = BankSampler(bank, 12, seed=0, buffer_shards=buffer)
        other.set_epoch(epoch)
        assert list(other) == order


def test_processes_read_other_shards(monkeypatch):
    bank, parts = Bank([10] * 40), []
    for rank in range(4):
        monkeypatch.setattr(
            bank_sampler, 'get_dist_info', lambda rank=rank: (rank, 4)
        )
        sampler = BankSampler(bank, 400, seed=0, buffer_shards=2)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler) == 100
        # Ten shards' worth, and those in part at both ends.
        assert len({index // 10 for index in parts[-1]}) <= 14
    assert sorted(sum(parts, [])) == list(range(400))


@pytest.mark.parametrize('buffer', [-1, 1.5, True, None])
def test_bad_buffers(buffer):
    with pytest.raises((ValueError, TypeError), match='buffer_shards'):
        BankSampler(Bank([3]), 3, seed=0, buffer_shards=buffer)


def test_other_data_has_no_shards():
    with pytest.raises(ValueError, match='buffer_shards=2 .* is a range'):
        BankSampler(range(3), 3, seed=0, buffer_shards=2)

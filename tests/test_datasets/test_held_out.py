# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Images that no student is trained on."""

import hashlib
import json
from fractions import Fraction

import numpy as np
import pytest
import torch

from csd_mmrazor.datasets import (
    BankError,
    BankFolder,
    BankSampler,
    ImageBank,
    bank_sampler,
)
from csd_mmrazor.datasets.bank_folder import IMPORTED, INITIAL
from csd_mmrazor.datasets.held_out import HeldOut
from csd_mmrazor.datasets.manifest import parse_shard

SHAPE = (1, 2, 2)


def checksum(number):
    return hashlib.sha256(b'%d' % number).hexdigest()


def append(bank, count, epoch, index):
    """A round whose images are like no others."""
    seed = np.random.default_rng([count, epoch + 2, index])
    images = seed.integers(256, size=(count, *SHAPE)).astype(np.uint8)
    bank.append(images, seed.integers(10, size=count), epoch, index)


def opened(path, counts=(), group=0, **kwargs):
    bank = ImageBank(**kwargs)
    bank.open(path, SHAPE, 10, group=group)
    for index, count in enumerate(counts):
        append(bank, count, INITIAL, index)
    return bank


def images_at(bank, places):
    if not len(places):
        return set()
    batch = bank.__getitems__(list(places))['inputs']
    return {image.numpy().tobytes() for image in batch}


@pytest.mark.parametrize('share', ['0.1', '0.29', '0.5', '0.07', '0.999'])
@pytest.mark.parametrize('count', [1, 2, 10, 100, 1000])
def test_a_share_of_each_round(share, count):
    mask = HeldOut(float(share)).mask(count, checksum(count))
    exact = Fraction(share) * count  # no rounding
    assert mask.shape == (count,)
    assert mask.sum() == min(exact.numerator // exact.denominator, count - 1)


def test_which_ones_follows_from_the_checksum_alone():
    masks = [HeldOut(0.2).mask(50, checksum(n)) for n in (1, 1, 2)]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    # For ever: banks of earlier releases.
    assert np.flatnonzero(masks[0]).tolist() == [
        *np.sort(
            np.random.RandomState(int(checksum(1)[:8], 16)).permutation(50)[
                :10
            ]
        )
    ]
    # Each place as often as any other.
    often = sum(HeldOut(0.2).mask(50, checksum(n)) for n in range(1000))
    assert abs(often - 200).max() < 5 * np.sqrt(1000 * 0.2 * 0.8)


def test_images_of_several_steps_are_held_out_in_all_or_none():
    mask = HeldOut(0.25, 12).mask(60, checksum(0)).reshape(5, 12)
    assert (mask == mask[0]).all() and mask[0].sum() == 3
    # Of another kind of round, which was imported.
    assert HeldOut(0.25, 12).mask(50, checksum(0)).sum() == 12


@pytest.mark.parametrize('group', [0, 10])
@pytest.mark.parametrize('buffer', [0, 1, 2])
@pytest.mark.parametrize('processes', [1, 3])
def test_no_process_ever_draws_them(
    tmp_path, monkeypatch, group, buffer, processes
):
    counts = (20, 10, 30, 7)
    bank = opened(tmp_path / 'bank', counts, group, held_out=0.2)
    held, drawn = bank.places(True), bank.places(False)
    assert len(held) == 4 + 2 + 6 + 1
    assert sorted([*held, *drawn]) == list(range(67))
    found = []
    for rank in range(processes):
        monkeypatch.setattr(
            bank_sampler, 'get_dist_info', lambda rank=rank: (rank, processes)
        )
        sampler = BankSampler(bank, 108, seed=0, buffer_shards=buffer)
        for epoch in range(2):
            sampler.set_epoch(epoch)
            found.append(list(sampler))
            assert len(found[-1]) == 108 // processes
    # Evenly: two epochs of two passes through 54.
    often = np.bincount(np.concatenate(found), minlength=67)
    assert not often[held].any() and (often[drawn] == 4).all()


def test_without_it_draws_are_as_ever(tmp_path):
    bank = opened(tmp_path / 'bank', (20, 10))
    assert bank.places(True).tolist() == []
    assert bank.places(False).tolist() == list(range(30))
    for buffer in (0, 2):
        sampler = BankSampler(bank, 60, seed=3, buffer_shards=buffer)
        generator = torch.Generator().manual_seed(3)
        expected = (
            bank_sampler.block_draws([20, 10], 60, 2, generator)
            if buffer
            else bank_sampler.balanced_draws(30, 60, generator)
        )
        assert list(sampler) == expected.tolist()
    manifest = json.loads((tmp_path / 'bank/manifest.json').read_text())
    assert 'held_out' not in manifest


def test_they_are_the_same_ones_wherever_the_shards_go(tmp_path):
    bank = opened(tmp_path / 'a', (20, 10), 10, held_out=0.3)
    held = images_at(bank, bank.places(True))
    # Opened again, trained on as it is, taken over, read from disk.
    again = opened(tmp_path / 'a', (), 10, held_out=0.3)
    finished = ImageBank(data_root=str(tmp_path / 'a'), held_out=0.3)
    adopted = opened(
        tmp_path / 'b',
        (),
        10,
        held_out=0.3,
        init_bank=str(tmp_path / 'a'),
        storage='disk',
    )
    assert {s.epoch for s in adopted.opened.shards} == {IMPORTED}
    for other in (again, finished, adopted):
        assert images_at(other, other.places(True)) == held
    assert BankFolder(tmp_path / 'b').held_out == HeldOut(0.3, 10)
    # As the bank grows, and where old rounds are dropped.
    small = opened(tmp_path / 'c', (20, 10), 10, held_out=0.3, capacity=40)
    for epoch in range(3):
        append(small, 20, epoch, 0)
        append(adopted, 20, epoch, 0)
        held |= images_at(adopted, adopted.places(True)[-6:])
    assert len(small) == 40
    assert images_at(small, small.places(True)) < held
    assert images_at(adopted, adopted.places(True)) == held


@pytest.mark.parametrize(
    'was, now',
    [(0.1, 0.2), (0.1, 0), (0, 0.1), ((0.1, 10), (0.1, 20))],
)
def test_it_cannot_be_changed(tmp_path, was, now):
    was, now = (v if isinstance(v, tuple) else (v, 0) for v in (was, now))
    opened(tmp_path / 'bank', (), was[1], held_out=was[0])
    # Nothing was made yet.
    bank = opened(tmp_path / 'bank', (20,), now[1], held_out=now[0])
    before = (tmp_path / 'bank/manifest.json').read_bytes()
    with pytest.raises(BankError, match=f'dataset.held_out={now[0]}'):
        opened(tmp_path / 'bank', (), was[1], held_out=was[0])
    assert (tmp_path / 'bank/manifest.json').read_bytes() == before
    # Another run holds out as many of its own, and those of the other one.
    other = opened(
        tmp_path / 'new',
        (),
        was[1],
        held_out=was[0],
        init_bank=str(bank.opened.path),
    )
    append(other, 20, 0, 0)
    assert len(other.places(True)) == int(20 * (now[0] or was[0])) + int(
        20 * was[0]
    )


@pytest.mark.parametrize('own', [(0, 0), (0.3, 10), (0.25, 4), (0.2, 0)])
@pytest.mark.parametrize('link', [False, True])
def test_imports_stay_held_out(tmp_path, own, link):
    """Through two runs of other kinds, their restarts, and a drop."""
    bank = opened(tmp_path / 'a', (20, 40), 5, held_out=0.4)
    held = images_at(bank, bank.places(True))
    assert len(held) == 24
    kwargs = dict(held_out=own[0], init_bank=str(tmp_path / 'a'))
    second = opened(tmp_path / 'b', (), own[1], link_init_bank=link, **kwargs)
    append(second, 40, 0, 0)
    expected = held | images_at(second, second.places(True)[24:])
    assert len(expected) == 24 + 40 * own[0]
    third = opened(tmp_path / 'c', (), 2, init_bank=str(tmp_path / 'b'))
    again = opened(tmp_path / 'b', (), own[1], **kwargs)
    finished = ImageBank(data_root=str(tmp_path / 'b'))
    for other in (second, third, again, finished):
        assert images_at(other, other.places(True)) == expected
        drawn = images_at(other, BankSampler(other, 76 * 2, seed=0))
        assert len(drawn) == 100 - len(expected) and not drawn & expected
    third.keep(third.opened.shards[1:])
    third = opened(tmp_path / 'c', (), 2)
    left = images_at(third, third.places(True))
    assert left < expected and len(left) == len(expected) - 8


def test_a_finished_bank_keeps_its_own(tmp_path):
    bank = opened(tmp_path / 'bank', (20, 10), 10, held_out=0.3)
    finished = ImageBank(data_root=str(tmp_path / 'bank'))
    expected = bank.places(True).tolist()
    assert finished.places(True).tolist() == expected and expected
    with pytest.raises(BankError, match=r'share 0\.3.*share 0\.5'):
        ImageBank(data_root=str(tmp_path / 'bank'), held_out=0.5)


@pytest.mark.parametrize(
    'share', [-0.1, 1, 1.5, float('nan'), float('inf'), True, '0.1', None]
)
def test_shares_that_are_none(share):
    with pytest.raises(ValueError, match='held_out of ImageBank .* share'):
        ImageBank(held_out=share)


@pytest.mark.parametrize(
    'entry',
    [
        None,
        [],
        {},
        dict(share=0.1),
        dict(share=0.0, group=0),
        dict(share=1.0, group=0),
        dict(share='0.1', group=0),
        dict(share=True, group=0),
        dict(share=float('nan'), group=0),
        dict(share=0.1, group=-1),
        dict(share=0.1, group=1.5),
        dict(share=0.1, group=0, more=1),
    ],
)
def test_manifests_that_no_bank_writes(tmp_path, entry):
    opened(tmp_path / 'bank', (20,), held_out=0.1)
    path = tmp_path / 'bank/manifest.json'
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(content, held_out=entry)))
    with pytest.raises(BankError, match='cannot be used'):
        BankFolder(tmp_path / 'bank')
    # Nor of a shard.
    shard = dict(
        name='000000.npy', count=1, sha256='a' * 64, epoch=-2, index=0
    )
    parse_shard(shard)
    with pytest.raises(ValueError, match='held_out|share|group'):
        parse_shard(dict(shard, held_out=entry))

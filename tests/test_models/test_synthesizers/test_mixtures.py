# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from test_models.test_synthesizers.test_all_steps import (
    ASKED,
    LASTING,
    synthesizer,
)
from test_models.test_synthesizers.test_all_steps import (  # noqa: F401
    networks as float_networks,
)

from csd_mmrazor.datasets.held_out import HeldOut
from csd_mmrazor.engine.operations import operations
from csd_mmrazor.models.synthesizers.mixtures import cutmix, mix_steps


@pytest.fixture
def networks(float_networks):  # noqa: F811
    """They take uint8 as well, as those of an algorithm do."""

    def normalize(images):
        if images.dtype == torch.uint8:
            images = images / 255
        return (images - 0.3) / 0.4

    return float_networks._replace(normalize=normalize)


def test_cutmix_pixel_by_pixel():
    """A box is where the centres of pixels are, as far as it is inside."""
    torch.manual_seed(0)
    images, others = torch.randint(256, (2, 20, 2, 6, 9)).byte()
    centres, shares = torch.rand(20, 2), torch.rand(20)
    shares[0], shares[1] = 0, 1
    centres[1] = 0.5
    mixed = cutmix(images, others, centres, shares)
    counts = []
    for n in range(20):
        (row, column), share = (
            (centres[n] * torch.tensor([6, 9])).tolist(),
            (shares[n].item()),
        )
        counts.append(0)
        for i in range(6):
            for j in range(9):
                is_inside = (
                    abs(i + 0.5 - row) < share * 6 / 2
                    and abs(j + 0.5 - column) < share * 9 / 2
                )
                counts[-1] += is_inside
                source = others if is_inside else images
                assert torch.equal(mixed[n, :, i, j], source[n, :, i, j])
    assert counts[:2] == [0, 54]
    assert len(set(counts)) > 5


def test_partners_are_of_the_same_place_in_another_step():
    """So what is held out by place is in no other image."""
    steps, group = 5, 7
    places = torch.arange(group).repeat(steps)
    numbers = torch.arange(steps).repeat_interleave(group)
    images = torch.stack([places, numbers], 1)[:, :, None, None]
    images = images.expand(-1, -1, 8, 8).byte()
    mixed = mix_steps(images, group, 2)
    assert mixed.shape == (2 * steps * group, 2, 8, 8)
    assert (mixed[:, 0] == places.repeat(2)[:, None, None]).all()
    # Whatever is pasted is of another step, and most boxes show.
    differs = mixed[:, 1] != numbers.repeat(2)[:, None, None]
    assert differs.flatten(1).any(1).sum() > 50
    partners = [
        set(step[differ].tolist())
        for step, differ in zip(mixed[:, 1], differs)
    ]
    assert all(len(found) <= 1 for found in partners)
    assert set.union(*partners) == set(range(steps))
    # Half of the area in the mean, less what is cut off at the edges.
    share = differs.float().mean()
    assert 0.2 < share < 0.5
    mask = torch.from_numpy(HeldOut(0.3, group).mask(len(mixed), '5' * 64))
    held = {int(place) for place in places.repeat(2)[mask]}
    assert {int(place) for place in mixed[~mask, 0].flatten()}.isdisjoint(held)


def test_one_step_has_nothing_to_mix():
    images = torch.randint(256, (4, 1, 8, 8)).byte()
    assert torch.equal(mix_steps(images, 4, 1), images)


@pytest.mark.parametrize('labels', ['none', 'teacher'])
@pytest.mark.parametrize('number', [1, 2])
def test_mixtures_come_after_what_the_steps_made(networks, labels, number):
    """Whatever the steps make stays, in this round and in later ones."""
    kind = dict(LASTING, labels=labels)
    plain, mixing = synthesizer(**kind), synthesizer(**kind, cutmix=number)
    teacher = networks.teachers['teacher']
    for seed in range(2):
        before, state = (
            plain.synthesize(networks, 10, seed=seed),
            torch.get_rng_state(),
        )
        batch = mixing.synthesize(networks, 10, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        made = len(before.images)
        assert made == 24
        assert len(batch.images) == mixing.images_of(4) == 24 * (1 + number)
        assert (before.mixed, batch.mixed) == (0, 24 * number)
        for name in ('images', 'labels', 'targets'):
            first, of_steps = (
                getattr(batch, name)[:made],
                getattr(before, name),
            )
            assert torch.equal(first, of_steps)
        with torch.no_grad():
            logits_t = teacher(
                networks.normalize(batch.images / 255), mode='tensor'
            )
        torch.testing.assert_close(
            batch.targets.float(), logits_t, rtol=2**-10, atol=1e-4
        )
        assert torch.equal(batch.labels, batch.targets.argmax(1))
        assert len(batch.images.flatten(1).unique(dim=0)) > 24 * (
            0.5 + number * 0.8
        )
    again = synthesizer(**kind, cutmix=number)
    assert torch.equal(
        again.synthesize(networks, 10, seed=0).images[24:],
        mix_of(again, networks, 0),
    )


def mix_of(parts, networks, seed):
    """The mixtures of the first round, made once more."""
    again = synthesizer(**dict(LASTING, labels=parts.labels))
    again.cutmix = parts.cutmix
    return again.synthesize(networks, 10, seed=seed).images[24:]


def test_they_cost_a_pass_of_the_teacher(networks):
    def cost(**options):
        parts = synthesizer(**LASTING, **options)
        parts.prepare(networks, 0)
        return operations(lambda: parts.synthesize(networks, 10, seed=0))

    teacher, images = networks.teachers['teacher'], torch.rand(24, 1, 8, 8)
    with torch.no_grad():
        one_pass = operations(
            lambda: teacher(networks.normalize(images), mode='tensor')
        )
    assert one_pass > 0
    assert cost(cutmix=3) - cost() == 3 * one_pass


@pytest.mark.parametrize('amp', ['bfloat16', None])
def test_precision(networks, amp):
    batch = synthesizer(**LASTING, amp=amp, cutmix=1).synthesize(
        networks, 10, seed=0
    )
    assert batch.targets.dtype == torch.float16
    assert batch.images.shape == (48, 1, 8, 8)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(LASTING, keep_targets=False), 'keep_targets=False'),
        (dict(LASTING, latents='trained', optimizer_lasts=False), "'trained'"),
        (dict(ASKED, latents='fresh'), "labels='random'"),
        (dict(LASTING, keep='last', keep_targets=False), "keep='last'"),
        (dict(LASTING, iters=1), 'iters=1'),
    ],
)
def test_what_cannot_be_mixed(options, message):
    with pytest.raises(ValueError, match=f'cutmix=2 of .*{message}'):
        synthesizer(**dict(options, cutmix=2))


@pytest.mark.parametrize('cutmix', [-1, 0.5, True, None, '1'])
def test_number_of_mixtures(cutmix):
    with pytest.raises((ValueError, TypeError), match='cutmix of Image'):
        synthesizer(**LASTING, cutmix=cutmix)

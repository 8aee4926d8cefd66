# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run says that it will do and cost."""

import re
from types import SimpleNamespace

import pytest
import torch

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.engine import estimate as module
from csd_mmrazor.engine.estimate import Estimate, estimate

SECONDS = dict(initial=1.0, synthesis=2.0, student=0.5, validation=60.0)


def test_hours_and_levers():
    found = Estimate(
        dict(initial=7200, synthesis=1800, student=3600, validation=6),
        SECONDS,
        *(10, 1000, 3008, 5_000_000, 'little memory'),
    )
    assert found.hours() == dict(
        initial=2.0, synthesis=1.0, student=0.5, validation=0.1
    )
    first, second = found.lines()
    assert first.startswith('Estimate: 3.60 h on this machine')
    for part in (
        'initial 7200 x 1 s',
        '10 rounds, 1000 images',
        '3.0 MB of disk for the bank and 5.0 MB for checkpoints',
        'little memory',
    ):
        assert part in first
    assert 'initial takes 2.00 h' in second and 'init_rounds' in second
    assert 'synthesis takes 1.00 h' in second and 'student' not in second


def the_hook(runner):
    return next(h for h in runner.hooks if hasattr(h, 'synthesizer'))


def shard(epoch, count):
    return SimpleNamespace(epoch=epoch, count=count)


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, 64 + 8),
        # 10 logits of 2 bytes and 3 numbers that a view is drawn by.
        (dict(target_views=2), 64 + 8 + 2 * (2 * 10 + 3)),
        # The last map is (16, 4, 4).
        (
            dict(target_views=2, target_maps=True),
            64 + 8 + 2 * (2 * (10 + 16 * 4 * 4) + 3),
        ),
    ],
)
def test_bytes_of_an_image(tiny_runner, options, expected):
    found = {f'default_hooks.synthesis.{k}': v for k, v in options.items()}
    runner = tiny_runner(**found)
    plan = estimate(runner, the_hook(runner), SECONDS, {}, (1, 8, 8), 10)
    assert plan.image_bytes == expected


@pytest.mark.parametrize(
    'made, initial, rounds, images',
    [
        # 2 initial rounds and one for each of 2 epochs, of 16 images.
        ([], 4, 4, 64),
        ([shard(-1, 16)], 2, 3, 64),
        ([shard(-1, 16)] * 2, 0, 2, 64),
    ],
)
def test_what_is_left(tiny_runner, made, initial, rounds, images):
    runner = tiny_runner()
    found = estimate(
        runner,
        the_hook(runner),
        SECONDS,
        dict(student=6, validation=2),
        (1, 8, 8),
        10,
        made,
    )
    assert found.units == dict(
        initial=initial, synthesis=4, student=6, validation=2
    )
    assert (found.rounds, found.images) == (rounds, images)
    assert found.image_bytes == 64 + 8
    weights = sum(
        v.numel() * v.element_size()
        for v in runner.model.state_dict().values()
    )
    assert found.checkpoint_bytes > weights


@pytest.mark.parametrize(
    'option, more',
    [
        ({'target_views': 3}, 3 * (2 * 10 + 3)),
        ({'synthesizer.keep': 'all', 'synthesizer.keep_targets': True}, 20),
    ],
)
def test_targets_take_room(tiny_runner, option, more):
    runner = tiny_runner(
        **{f'default_hooks.synthesis.{k}': v for k, v in option.items()}
    )
    found = estimate(runner, the_hook(runner), SECONDS, {}, (1, 8, 8), 10)
    assert found.image_bytes == 64 + 8 + more
    # All of the two steps of a round are kept.
    assert found.images == (64 if 'target_views' in option else 128)


def test_imported_images_leave_no_initial_rounds(tiny_runner, tmp_path):
    tiny_runner().train()
    runner = tiny_runner(
        'second',
        **{'train_dataloader.dataset.init_bank': str(tmp_path / 'run/bank')},
    )
    found = estimate(runner, the_hook(runner), SECONDS, {}, (1, 8, 8), 10)
    assert found.units['initial'] == 0


def test_it_is_in_the_log_before_any_image(tiny_runner, tmp_path):
    tiny_runner(**{'train_cfg.max_epochs': 1}).train()
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert log.count('Estimate: ') == 1
    assert log.index('Estimate: ') < log.index('initial: ')
    found = re.search(r'Estimate: ([\d.]+) h .* (\d+) rounds', log)
    assert found and int(found[2]) == 3


def test_plan_says_so_and_ends(tiny_runner, tmp_path):
    runner = tiny_runner()
    the_hook(runner).plan_only = True
    with pytest.raises(SystemExit) as ended:
        runner.train()
    assert ended.value.code == 0
    assert not BankFolder.exists(tmp_path / 'run/bank')
    assert not [*(tmp_path / 'run').glob('*.pth')]
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert 'Estimate: ' in log and 'To make it fit: ' in log
    # A run in the same work dir starts as if nothing had been.
    tiny_runner(**{'train_cfg.max_epochs': 1}).train()


def test_a_step_is_timed_without_what_a_round_takes(monkeypatch, tiny_runner):
    """A clock that only steps and rounds let pass."""
    from csd_mmrazor.models import Networks

    runner = tiny_runner()
    hook, now = the_hook(runner), [0.0]

    def synthesize(networks, num_classes, seed, iters, with_student):
        now[0] += 10 + iters * (3 if with_student else 2)

    def train_step(batch, optim_wrapper):
        assert batch['inputs'].shape == (16, 1, 8, 8)
        now[0] += 5

    monkeypatch.setattr(module, '_now', lambda device: now[0])
    monkeypatch.setattr(hook.synthesizer, 'synthesize', synthesize)
    monkeypatch.setattr(runner.model, 'train_step', train_step)
    networks = Networks.from_algorithm(runner.model)
    args = (runner, hook.synthesizer, networks, 10, (1, 8, 8))
    found = module.timed_steps(*args, False)
    assert found == dict(synthesis=3.0, initial=2.0, student=5.0)
    assert 'student' not in module.timed_steps(*args, True)
    assert torch.is_tensor(next(runner.model.parameters()))

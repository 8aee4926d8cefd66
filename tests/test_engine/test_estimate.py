# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a run says that it will do and cost."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import dump
from PIL import Image

from csd_mmrazor.datasets import BankFolder, ImageBank
from csd_mmrazor.datasets.image_codec import ImageCodec
from csd_mmrazor.datasets.loose_rounds import write_note
from csd_mmrazor.engine import estimate as module
from csd_mmrazor.engine.estimate import Estimate, estimate, image_bytes
from csd_mmrazor.engine.hooks.synthesis_hook import Planned

SECONDS = dict(initial=1.0, synthesis=2.0, student=0.5, validation=60.0)


def test_times_and_levers():
    found = Estimate(
        dict(initial=7200, synthesis=1800, student=3600, validation=6),
        SECONDS,
        *(10, 1000, 3_008_000, 5_000_000, 'little memory'),
    )
    assert found.totals() == dict(
        initial=7200.0, synthesis=3600.0, student=1800.0, validation=360.0
    )
    assert 'CUDA graphs' not in found.lines()[0]
    replayed, _ = found._replace(is_replayed=True).lines()
    assert 'alone without CUDA graphs, so it may take much less' in replayed
    first, second = found.lines()
    assert first.startswith('Estimate: 3.6 h on this machine')
    for part in (
        'initial 7200 x 1 s',
        '10 rounds to make, 1000 images',
        '3.0 MB of disk for the bank and 5.0 MB for checkpoints',
        'little memory',
    ):
        assert part in first
    (first, _) = found._replace(rounds=1, images=1).lines()
    assert ', 1 round to make, 1 image in the end, ' in first
    assert 'initial takes 2 h' in second and 'init_rounds' in second
    assert 'synthesis takes 60 min' in second and 'student' not in second
    # Of a run that is over.
    (first,) = found._replace(units=dict.fromkeys(SECONDS, 0)).lines()
    assert first.startswith('Estimate: 0 s on this machine')


def the_hook(runner):
    return next(h for h in runner.hooks if hasattr(h, 'synthesizer'))


def bank(path, *epochs):
    """A bank of rounds of 16 images of those epochs."""
    folder = BankFolder(path, (1, 8, 8), 10)
    images = np.zeros((16, 1, 8, 8), np.uint8)
    for index, epoch in enumerate(epochs):
        folder.append(images, np.zeros(16, np.int64), epoch, index, True)
    return folder


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
    assert plan.bank_bytes == plan.images * expected


@pytest.mark.parametrize(
    'option', ['model.graph', 'default_hooks.synthesis.synthesizer.graph']
)
def test_it_says_that_steps_are_replayed(tiny_runner, option):
    for graph in False, True:
        runner = tiny_runner(f'run{graph}', **{option: graph})
        plan = estimate(runner, the_hook(runner), SECONDS, {}, (1, 8, 8), 10)
        assert plan.is_replayed == graph


@pytest.mark.parametrize(
    'made, initial, synthesis, rounds, images',
    [
        # 2 initial rounds and one for each of 2 epochs, of 16 images.
        ((), 4, 4, 4, 64),
        ((-1,), 2, 4, 3, 64),
        ((-1, -1), 0, 4, 2, 64),
        ((-1, -1, 0), 0, 2, 1, 64),  # killed within the first epoch
        ((-1, -1, 0, 1), 0, 2, 1, 64),  # a later one is made again
        ((0,), 0, 2, 1, 32),  # a capacity has dropped the initial ones
    ],
)
def test_what_is_left(
    tiny_runner, tmp_path, made, initial, synthesis, rounds, images
):
    runner = tiny_runner()
    folder = bank(tmp_path / 'bank', *made)
    found = estimate(
        runner,
        the_hook(runner),
        SECONDS,
        dict(student=6, validation=2),
        (1, 8, 8),
        10,
        folder,
    )
    assert found.units == dict(
        initial=initial, synthesis=synthesis, student=6, validation=2
    )
    assert (found.rounds, found.images) == (rounds, images)
    kept = len([epoch for epoch in made if epoch <= 0])
    files = [folder.path / s.name for s in folder.shards[:kept]]
    assert found.bank_bytes == (
        sum(path.stat().st_size for path in files)
        + (images - 16 * kept) * (64 + 8)
    )
    weights = sum(
        v.numel() * v.element_size()
        for v in runner.model.state_dict().values()
    )
    assert found.checkpoint_bytes > weights


def test_what_is_only_to_be_added_is_not_made(tiny_runner, tmp_path):
    """Rounds that a killed run has noted."""
    runner = tiny_runner()
    folder = bank(tmp_path / 'bank', -1)
    images, labels = np.zeros((16, 1, 8, 8), np.uint8), np.zeros(16, np.int64)
    made = folder.write_round(images, labels, -1, 1)
    write_note(folder.path, made._replace(run='a' * 64))
    args = ((1, 8, 8), 10, folder)
    found = estimate(runner, the_hook(runner), SECONDS, {}, *args)
    assert (found.units['initial'], found.units['synthesis']) == (0, 4)
    assert (found.rounds, found.images) == (2, 64)


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
    assert found.bank_bytes == found.images * (64 + 8 + more)
    # All of the two steps of a round are kept.
    assert found.images == (64 if 'target_views' in option else 128)


@pytest.mark.parametrize('link', [False, True])
def test_a_bank_to_start_from(tiny_runner, tmp_path, link):
    source = bank(tmp_path / 'other', -1, -1, 0)
    runner = tiny_runner(
        **{
            'train_dataloader.dataset.init_bank': str(source.path),
            'train_dataloader.dataset.link_init_bank': link,
        }
    )
    found = estimate(runner, the_hook(runner), SECONDS, {}, (1, 8, 8), 10)
    assert found.units['initial'] == 0
    assert found.images == 5 * 16
    size = sum((source.path / s.name).stat().st_size for s in source.shards)
    assert found.bank_bytes == (not link) * size + 2 * 16 * (64 + 8)


def test_pictures_to_start_from(tiny_runner, tmp_path):
    for index in range(7):
        path = tmp_path / f'pictures/{index % 2}/{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('L', (8, 8)).save(path)
    runner = tiny_runner(
        **{'train_dataloader.dataset.init_bank': str(tmp_path / 'pictures')}
    )
    found = estimate(runner, the_hook(runner), SECONDS, {}, (1, 8, 8), 10)
    assert found.images == 7 + 2 * 16
    assert found.bank_bytes == found.images * (64 + 8)


@pytest.mark.parametrize('capacity', [1, 16, 17, 40, 64, 1000])
@pytest.mark.parametrize('made', [(), (-1, -1, 0)])
def test_a_capacity_counts(tiny_runner, tmp_path, capacity, made):
    """Against the bank of a run, and what it has at most."""
    options = {'train_dataloader.dataset.capacity': capacity}
    runner = tiny_runner(**options)
    folder = bank(tmp_path / 'bank', *made) if made else None
    args = ((1, 8, 8), 10, folder)
    found = estimate(runner, the_hook(runner), SECONDS, {}, *args)
    grown = ImageBank(capacity=capacity)
    grown.open(tmp_path / 'grown', (1, 8, 8), 10)
    most = 0
    for index in range(4):
        before = len(grown)
        images = torch.zeros(16, 1, 8, 8, dtype=torch.uint8)
        grown.append(images, torch.zeros(16, dtype=torch.int64), 0, index)
        most = max(most, before + 16)
    assert found.images == len(grown)
    # Files have a head.
    assert most * 72 <= found.bank_bytes < most * 72 + 3 * 200


@pytest.mark.parametrize('name', ['png', 'jpeg', 'webp'])
def test_what_a_common_format_takes(tmp_path, name):
    codec, shape = ImageCodec(name), (3, 64, 96)
    found = image_bytes(codec, shape)
    assert 0.02 < found / math.prod(shape) < 0.9
    folder = BankFolder(tmp_path / 'bank', shape, 10, codec=codec)
    assert image_bytes(codec, shape, folder) == found
    noise = np.random.default_rng(0).integers(0, 256, (4, *shape))
    folder.append(noise.astype(np.uint8), np.zeros(4, np.int64), 0, 0, True)
    size = (folder.path / folder.shards[0].name).stat().st_size
    assert image_bytes(codec, shape, folder) == size / 4 > found
    assert image_bytes(ImageCodec(), shape, folder) == math.prod(shape) + 8
    if name != 'png':
        worse = image_bytes(ImageCodec(name, 10), shape)
        assert worse < found / 2


def test_it_is_in_the_log_before_any_image(tiny_runner, tmp_path):
    tiny_runner(**{'train_cfg.max_epochs': 1}).train()
    log = next((tmp_path / 'run').glob('*/*.log')).read_text()
    assert log.count('Estimate: ') == 1
    assert log.index('Estimate: ') < log.index('initial: ')
    found = re.search(r'Estimate: ([\d.]+) s .* (\d+) rounds to make', log)
    assert found and int(found[2]) == 3


def everything(*folders):
    """Names, content and times of all files below folders."""
    return {
        path: (path.is_file() and path.read_bytes(), path.stat().st_mtime_ns)
        for folder in folders
        for path in [folder, *folder.rglob('*')]
    }


def test_a_plan_writes_nothing(forked, tiny_config, tmp_path):
    """Neither in a new work dir, nor in one of a run, or anywhere else."""
    cfg = tiny_config(**{'train_cfg.max_epochs': 1})
    dump(cfg, tmp_path / 'config.py')
    home, temporary = tmp_path / 'home', tmp_path / 'tmp'
    for folder in (home, temporary, tmp_path / 'work'):
        folder.mkdir()
    setup = f"""
import tempfile
tempfile.tempdir = {str(temporary)!r}
os.environ['HOME'] = {str(home)!r}
"""
    before = everything(tmp_path / 'work', temporary, home)
    for use in ('new', 'used'):
        if use == 'used':
            done = forked(
                *('config.py', '--work-dir', 'work/run', '--no-rehearsal')
            )
            assert done.status == [0], done.output[-3000:]
            (tmp_path / 'work/run/.left.py.1.tmp').touch()
            text = (tmp_path / 'config.py').read_text()
            longer = text.replace('max_epochs=1', 'max_epochs=3')
            assert longer != text
            (tmp_path / 'config.py').write_text(longer)
            before = everything(tmp_path / 'work', temporary, home)
        for options in ((), ('--resume',), ('--requeue',)):
            argv = ('config.py', '--work-dir', 'work/run', '--plan', *options)
            done = forked(*argv, setup=setup)
            assert done.status == [0], done.output[-3000:]
            after = everything(tmp_path / 'work', home)
            left = {**after, **everything(temporary)}
            left[temporary] = before[temporary]  # the time of its change
            assert left == before
            (line,) = re.findall('Estimate: .*', done.stdout)
            # Three are there: two initial ones, and one of the first epoch.
            rounds = 5 if use == 'used' else 3
            if use == 'used' and options:
                rounds = 2
            assert f', {rounds} round{"s" * (rounds != 1)} to make' in line
            assert len(done.stdout.splitlines()) < 40, done.stdout
            assert ('needs another --work-dir' in done.output) == (
                use == 'used' and not options
            )


def test_an_error_of_a_plan_is_short(forked, tiny_config, tmp_path):
    """And its traceback is in a file that stays."""
    cfg = tiny_config(
        **{
            'model.image_shape': (1, 8, 12),
            'model.aux_head.task': dict(type='FlipTask', _delete_=True),
        }
    )
    dump(cfg, tmp_path / 'config.py')
    done = forked('config.py', '--work-dir', 'run', '--plan')
    assert done.status == [1]
    assert len(done.stderr.strip().splitlines()) < 12, done.stderr
    assert 'image_shape' in done.stderr.strip().splitlines()[-1]
    (path,) = re.findall('The traceback is in (.*)', done.stderr)
    assert 'Traceback' in Path(path).read_text()
    assert not (tmp_path / 'run').exists()


def test_a_step_is_timed_without_what_a_round_takes(monkeypatch, tiny_runner):
    """A clock that only steps and rounds let pass. No graph is made."""
    from csd_mmrazor.models import Networks

    runner = tiny_runner()
    hook, now = the_hook(runner), [0.0]

    def synthesize(networks, num_classes, seed, iters, with_student):
        now[0] += 10 + iters * (3 if with_student else 2)

    def train_step(batch, optim_wrapper):
        assert batch['inputs'].shape == (16, 1, 8, 8)
        assert runner.model.replayed is None
        now[0] += 5

    monkeypatch.setattr(module, '_now', lambda device: now[0])
    monkeypatch.setattr(hook.synthesizer, 'synthesize', synthesize)
    monkeypatch.setattr(runner.model, 'train_step', train_step)
    networks = Networks.from_algorithm(runner.model)
    args = (runner, hook.synthesizer, networks, 10, (1, 8, 8))
    runner.model.replayed = replayed = object()
    found = module.timed_steps(*args, None)
    assert runner.model.replayed is replayed
    assert found == dict(synthesis=3.0, initial=2.0, student=5.0)
    # Where there are none, all terms may look at the student.
    found = module.timed_steps(*args, None, False)
    assert found == dict(synthesis=3.0, student=5.0)
    assert torch.is_tensor(next(runner.model.parameters()))


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'target_views': 2, 'target_maps': True},
        {
            'synthesizer.keep': 'all',
            'synthesizer.keep_targets': True,
            'target_maps': True,
            'model.data_preprocessor.augment': None,
        },
    ],
)
def test_steps_with_kept_targets_are_timed(tiny_runner, monkeypatch, options):
    """As the bank gives them, in place of the teacher."""
    runner = tiny_runner(
        **{
            k if 'model.' in k else f'default_hooks.synthesis.{k}': v
            for k, v in options.items()
        }
    )
    hook, batches, asked = the_hook(runner), [], []
    train_step = runner.model.train_step

    def noted(batch, optim_wrapper):
        batches.append(batch)
        asked.append([])
        return train_step(batch, optim_wrapper)

    monkeypatch.setattr(runner.model, 'train_step', noted)
    for teacher in runner.model.teachers.values():
        teacher.register_forward_hook(
            lambda *_: asked[-1].append(1) if asked else None
        )
    hook.plan_for = runner.work_dir
    with pytest.raises(Planned):
        runner.train()
    assert len(batches) == 5
    names = {'inputs', 'labels'}
    if options:
        names |= {'targets', 'maps'}
        names |= {'draws'} if 'target_views' in options else set()
    assert {*batches[-1]} == names
    assert all(bool(each) == (not options) for each in asked)

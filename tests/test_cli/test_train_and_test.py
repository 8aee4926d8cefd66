# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The tools, run as a user runs them."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, build, command, dump, free_port
from mmengine.config import Config
from mmengine.hub import get_model
from mmengine.runner import CheckpointLoader
from PIL import Image

from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.utils import load_file

PAPER = ROOT / 'configs/csd/csd_resnet34_resnet18_cifar10.py'
SYNTHESIS = 'default_hooks.synthesis'
# A few steps of everything in the paper's config: what the README shows to
# begin with, and less still.
README = command('README.md', f'{SYNTHESIS}.init_rounds')
REDUCED = (
    *README[README.index('--cfg-options') + 1 :],
    f'{SYNTHESIS}.init_rounds=1',
    f'{SYNTHESIS}.init_iters=2',
    f'{SYNTHESIS}.synthesizer.iters=2',
    f'{SYNTHESIS}.synthesizer.batch_size=6',
    'train_dataloader.batch_size=4',
    'train_dataloader.sampler.num_samples=8',
    'val_dataloader.num_workers=0',
    'default_hooks.logger.interval=1',
)
NARROW = """
_base_ = 'mmpretrain::resnet/resnet{}_8xb16_cifar10.py'
model = dict(
    backbone=dict(stem_channels=8, base_channels=8),
    head=dict(in_channels=64),
)
"""
# Nothing answers there, so that a download fails at once.
OFFLINE = dict(
    http_proxy='http://127.0.0.1:9',
    https_proxy='http://127.0.0.1:9',
    no_proxy='',
)
# Fails on whatever a process opens that has a part of FORBIDDEN in its path.
AUDIT = """
import os, sys
forbidden = os.environ['FORBIDDEN'].split(os.pathsep)
def hook(event, args):
    if event == 'open' and any(each in str(args[0]) for each in forbidden):
        os.write(2, f'OPENED {args[0]}'.encode())
        os._exit(66)
sys.addaudithook(hook)
"""


def top1(work_dir):
    """Every validation of a work dir, in order."""
    found = []
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        lines = map(json.loads, path.read_text().splitlines())
        found += [d['accuracy/top1'] for d in lines if 'accuracy/top1' in d]
    return found


# Its files are smaller than those that are published.
PUBLISHED = """
import hashlib
from pathlib import Path
from csd_mmrazor.datasets import CIFAR10Images
test = Path({!r}, 'cifar-10-batches-py/test_batch')
digest = hashlib.md5(test.read_bytes()).hexdigest()
CIFAR10Images.test_list = [['test_batch', digest]]
"""


@pytest.fixture(scope='session')
def cifar(tmp_path_factory):
    """CIFAR-10 in ImageFolder layout, and a ResNet-34 teacher."""
    root = tmp_path_factory.mktemp('cifar')
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for name in ('airplane', 'cat', 'truck'):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f'{number}.png')
    torch.manual_seed(0)
    teacher = get_model('mmpretrain::resnet/resnet34_8xb16_cifar10.py')
    teacher.init_weights()
    torch.save(dict(state_dict=teacher.state_dict()), root / 'teacher.pth')
    return root


def publish(cifar, folder):
    """Write the pictures of a folder into files such as those of CIFAR-10."""
    for name in (*(f'data_batch_{n}' for n in range(1, 6)), 'test_batch'):
        split = 'test' if name == 'test_batch' else 'train'
        paths = sorted((cifar / split).glob('*/*.png'))
        images = [np.asarray(Image.open(path)) for path in paths]
        labels = [
            dict(airplane=0, cat=3, truck=9)[p.parent.name] for p in paths
        ]
        content = dict(
            data=np.stack(images).transpose(0, 3, 1, 2).reshape(-1, 3072),
            labels=labels,
        )
        path = folder / 'cifar-10-batches-py' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(content, protocol=2))


def test_the_papers_config_reads_no_training_image(forked, tmp_path, cifar):
    """Trained, tested and resumed on the CPU with a reduced schedule."""
    # As the README names the teacher and the images.
    own = command('README.md', 'data_root=FOLDER')
    own = ' '.join(own[own.index('--cfg-options') + 1 :])
    own = own.replace('resnet34.pth', 'teacher.pth')
    own = own.replace('FOLDER', str(cifar))
    # The paper's pair with an eighth of its channels.
    for depth in (34, 18):
        (tmp_path / f'narrow{depth}.py').write_text(NARROW.format(depth))
    teacher = build(Config.fromfile(tmp_path / 'narrow34.py').model)
    teacher.init_weights()
    torch.save(dict(state_dict=teacher.state_dict()), tmp_path / 'teacher.pth')
    student = 'model.architecture.cfg_path=narrow18.py'
    own += f' {student} model.teachers.teacher.build_cfg.cfg_path=narrow34.py'
    options = ('--cfg-options', *REDUCED, *own.split())
    forbidden = os.pathsep.join((str(cifar / 'train'), '/data_batch_'))
    env = dict(OFFLINE, FORBIDDEN=forbidden)
    audit = f'os.environ.update({env!r})\n{AUDIT}'
    # The audit sees what it is to see: images in Python are read with open.
    look = f'from PIL import Image; Image.open("{cifar}/train/cat/1.png")'
    seen = forked(setup=f'{audit}\n{look}')
    assert seen.status == [66] and 'OPENED' in seen.stderr

    def run(*args, **request):
        done = forked(*args, setup=audit, **request)
        assert done.status == [0], done.output[-6000:]
        return done.stdout

    train = (PAPER, '--work-dir', 'run')
    run(*train, *options, 'train_cfg.max_epochs=1')
    work = tmp_path / 'run'
    bank = BankFolder(work / 'bank')
    assert bank.image_shape == (3, 32, 32) and len(bank) == 12
    checkpoint = CheckpointLoader.load_checkpoint(str(work / 'epoch_1.pth'))
    keys = {key.split('.')[0] for key in checkpoint['state_dict']}
    assert keys == {'architecture', 'distiller', 'aux_head'}
    assert len(top1(work)) == 1

    # The first start has rehearsed the same. Of CIFAR-10 as it is published,
    # which has training images beside these.
    published = tmp_path / 'published'
    publish(cifar, published)
    audit += PUBLISHED.format(str(published))
    more = ('--resume', '--no-rehearsal', *options, 'train_cfg.max_epochs=2')
    run(*train, *more, f'val_dataloader.dataset.data_root={published}')
    assert len(BankFolder(work / 'bank')) == 18
    # A teacher's file is not needed to test a student, nor a run's
    # checkpoint: the exported student is the best one.
    for file, expected in (
        ('epoch_2.pth', top1(work)[-1]),
        ('student/student.pth', max(top1(work))),
    ):
        root = f'val_dataloader.dataset.data_root={cifar}'
        args = (PAPER, work / file, '--cfg-options', root, student)
        tested = run(*args, tool='test.py')
        found = re.findall(r'accuracy/top1: ([\d.]+)', tested)
        assert float(found[-1]) == pytest.approx(expected, abs=1e-3)
    # Of the run's own config: but for a folder of the test, it stays as it is.
    before = files_of(work)
    own = (work / PAPER.name, work / 'student/student.pth')
    # Of the same pictures in all classes, a tenth is right.
    for number in range(10):
        shutil.copytree(cifar / 'test/cat', tmp_path / f'my/{number}')
    for images, expected in ((), max(top1(work))), (('--val', 'my'), 10):
        tested = run(*own, *images, tool='test.py')
        found = re.findall(r'accuracy/top1: ([\d.]+)', tested)
        assert float(found[-1]) == pytest.approx(expected, abs=1e-3)
    assert any((work / 'test').iterdir())
    shutil.rmtree(work / 'test')
    refused = forked(*own, '--work-dir', work, tool='test.py')
    assert refused.status == [1]
    assert 'has a run, of which the config would be' in refused.stderr
    assert files_of(work) == before


def files_of(folder):
    files = filter(Path.is_file, folder.rglob('*'))
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    'name, message',
    [
        ('none.pth', 'checkpoint=none.pth does not exist'),
        ('teacher.pth', 'teacher.pth does not fit ImageClassifier'),
    ],
)
def test_a_checkpoint_that_cannot_be_tested(
    forked, tmp_path, teacher_file, name, message
):
    shutil.copy(teacher_file, tmp_path / 'teacher.pth')
    config = ROOT / 'configs/csd/csd_quickstart_digits.py'
    done = forked(config, name, tool='test.py')
    assert done.status == [1] and message in done.stderr
    assert '--cfg-options' not in done.stderr


@pytest.mark.parametrize('lacking', ['teacher', 'images'])
def test_offline_it_fails_at_once_and_says_what_to_do(
    forked, tmp_path, cifar, lacking
):
    options = []
    if lacking == 'images':
        options = [
            '--cfg-options',
            f'model.teachers.teacher.ckpt_path={cifar / "teacher.pth"}',
        ]
    env = dict(OFFLINE, TORCH_HOME=str(tmp_path / 'torch'))
    done = forked(PAPER, *options, setup=f'os.environ.update({env!r})')
    assert done.status == [1]
    file, option = dict(
        teacher=(
            'torch/hub/checkpoints/'
            'resnet34_b16x8_cifar10_20210528-a8aa36a6.pth',
            'model.teachers.teacher.ckpt_path=FILE',
        ),
        images=(
            'data/cifar10/cifar-10-python.tar.gz',
            'val_dataloader.dataset.data_root=FOLDER',
        ),
    )[lacking]
    assert f'put it at {tmp_path / file}' in done.stderr
    assert option in done.stderr
    assert done.stderr.count('put it at') == 1  # not one in another
    assert 'Traceback' not in done.stderr
    assert not list(tmp_path.rglob('manifest.json'))


def test_two_processes_on_the_cpu(run, tmp_path, tiny_config):
    """tools/dist_train.sh and dist_test.sh, with nothing edited."""
    cfg = tiny_config()
    dump(cfg, tmp_path / 'config.py')
    run(
        ROOT / 'tools/dist_train.sh',
        'config.py',
        2,
        '--work-dir',
        'run',
        PORT=str(free_port()),
    )
    bank = BankFolder(tmp_path / 'run/bank')
    assert [(s.epoch, s.index) for s in bank.shards] == [
        (-1, 0),
        (-1, 1),
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    assert len({s.sha256 for s in bank.shards}) == 6
    tested = run(
        ROOT / 'tools/dist_test.sh',
        'config.py',
        'run/epoch_2.pth',
        2,
        PORT=str(free_port()),
    )
    found = re.findall(r'accuracy/top1: ([\d.]+)', tested.stdout)
    # The log rounds to four digits.
    assert float(found[-1]) == pytest.approx(
        top1(tmp_path / 'run')[-1], abs=1e-4
    )


def test_slurm_arguments(run, tmp_path):
    """srun, which is not to be had here, is one that tells its arguments."""
    (tmp_path / 'srun').write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / 'srun').chmod(0o755)
    import os

    done = run(
        ROOT / 'tools/slurm_train.sh',
        'part',
        'job',
        'config.py',
        'work',
        '--amp',
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        GPUS='4',
        GPUS_PER_NODE='2',
        SRUN_ARGS='--quiet --exclusive',
    )
    words = done.stdout.split()
    assert words[:2] == ['-p', 'part']
    assert {'--ntasks=4', '--gres=gpu:2', '--quiet', '--exclusive'} <= set(
        words
    )
    assert words[-5:] == [
        str(ROOT / 'tools/train.py'),
        'config.py',
        '--work-dir=work',
        '--launcher=slurm',
        '--amp',
    ]


def test_without_validation(forked, tmp_path, tiny_config):
    """Then the running mean of the student is exported."""
    cfg = tiny_config(**{'train_cfg.max_epochs': 1})
    dump(cfg, tmp_path / 'config.py')
    done = forked(
        'config.py',
        '--work-dir',
        'run',
        '--cfg-options',
        'val_dataloader=None',
        'val_cfg=None',
        'val_evaluator=None',
    )
    assert done.status == [0], done.output[-3000:]
    (best,) = tmp_path.glob('run/best_*')
    saved = load_file(best)
    assert saved['meta']['student'] == 'mean'
    folder = tmp_path / 'run/student'
    assert json.loads((folder / 'student.json').read_text())['running_mean']
    card = (folder / 'README.md').read_text()
    assert 'running mean over the last steps' in card
    student = load_file(folder / 'student.pth')
    assert all(
        torch.equal(value, saved['state_dict'][f'architecture.{key}'])
        for key, value in student.items()
    )
    # The tester takes the whole folder, wherever it is.
    (tmp_path / 'run').rename(tmp_path / 'moved')
    place, made = tmp_path / 'val', np.zeros((8, 8), np.uint8)
    for label in range(10):
        (place / str(label)).mkdir(parents=True)
        Image.fromarray(made).save(place / str(label) / 'a.png')
    done = forked('moved', '--val', 'val', tool='test.py')
    assert done.status == [0], done.output[-3000:]
    assert 'accuracy/top1: 10.0000' in done.output
    # The rest is in the log, which is named.
    (log,) = tmp_path.glob('moved/test/*/*.log')
    first, second, *others = done.output.splitlines()
    assert first == f'checkpoint: moved/{best.name}' and not best.exists()
    assert second == f'log: {log}' and len(others) < 9
    for text in ('System environment', 'Config:', 'Hooks will be executed'):
        assert text in log.read_text() and text not in done.output
    weights = 'moved/student/student.safetensors'
    done = forked('moved', weights, '--val', 'val', tool='test.py')
    assert done.status == [0], done.output[-3000:]
    assert f'checkpoint: {weights}' in done.output
    done = forked('config.py', '--val', 'val', tool='test.py')
    assert done.status == [2]
    assert 'give the work dir of a run alone' in done.output + done.stderr


def test_flags(forked, tmp_path, tiny_config):
    """--amp, --auto-scale-lr and --local_rank, of either spelling."""
    cfg = tiny_config(**{'train_cfg.max_epochs': 1})
    dump(cfg, tmp_path / 'config.py')
    done = forked(
        'config.py',
        '--work-dir',
        'run',
        *('--amp', 'bfloat16'),
        '--auto-scale-lr',
        '--local-rank',
        0,
        '--cfg-options',
        'default_hooks.synthesis.init_rounds=1',
    )
    assert done.status == [0], done.output[-3000:]
    log = next((tmp_path / 'run').rglob('*.log')).read_text()
    assert log.count("type='mmrazor.AutocastOptimWrapper'") == 2
    assert "amp='bfloat16'" in log
    # 16 images a step, where the rate is for 128.
    assert 'architecture.lr: 1.2500e-02' in log
    assert len(BankFolder(tmp_path / 'run/bank')) == 32
    again = forked('config.py', '--local_rank', 0, '--help')
    assert again.status == [0] and '--resume [PATH]' in again.stdout


def test_checkpoints_of_an_earlier_run_stay(forked, tmp_path):
    """Those of a run without a bank, which is refused itself."""
    command = (
        *(ROOT / 'configs/teachers/resnet_digits.py', '--work-dir', 'run'),
        *('--cfg-options', 'train_cfg.max_epochs=1'),
    )
    first = forked(*command)
    assert first.status == [0], first.output[-3000:]

    def content():
        return {
            path: path.read_bytes()
            for path in (tmp_path / 'run').rglob('*')
            if path.is_file() and path.name != '.lock'
        }

    before = content()
    assert tmp_path / 'run/epoch_1.pth' in before
    again = forked(*command, 'randomness.seed=1')
    assert again.status == [1] and content() == before
    assert 'epoch_1.pth is of an earlier run. Continue that' in again.output
    resumed = forked(*command[:3], '--resume', *command[3:])
    assert resumed.status == [0], resumed.output[-3000:]

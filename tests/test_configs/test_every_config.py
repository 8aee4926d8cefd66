# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Every config there is: what it says, and a step of each kind.

Files are found by themselves. A folder whose configs are to be run here has
an entry in ``CUT_OF_FOLDER``, the options that its kind needs.
"""

import json
import math
import re
import shutil
import uuid
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers import ROOT, build
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.datasets.categories import (
    CIFAR10_CATEGORIES,
    CIFAR100_CATEGORIES,
)
from PIL import Image

from csd_mmrazor.cli.config import load_config
from csd_mmrazor.datasets import BankFolder
from csd_mmrazor.models.utils import bn_layers

CONFIGS = sorted(
    path.relative_to(ROOT / 'configs').with_suffix('').as_posix()
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)

# Schedule and batches, cut as a user would by --cfg-options. An option for a
# part that a config does not have is left out.
SYNTHESIS = 'default_hooks.synthesis'
CUT = {
    'train_cfg.max_epochs': 1,
    'train_cfg.val_interval': 1,
    'train_dataloader.batch_size': 2,
    'train_dataloader.num_workers': 0,
    'val_dataloader.batch_size': 2,
    'val_dataloader.num_workers': 0,
    'val_dataloader.dataset.indices': 2,
    'default_hooks.logger.interval': 1,
    'default_hooks.checkpoint.interval': 1,
    'default_hooks.checkpoint.save_optimizer': False,
    'default_hooks.checkpoint.save_best': None,
}
CUT_OF_FOLDER = dict(
    teachers={
        'train_dataloader.persistent_workers': False,
        'train_dataloader.dataset.indices': 2,
    },
    csd={
        'model.log_interval': 1,
        f'{SYNTHESIS}.rounds': 1,
        # It would take longer than all the rest, of which it is a copy.
        f'{SYNTHESIS}.rehearsal': False,
        f'{SYNTHESIS}.init_rounds': 1,
        f'{SYNTHESIS}.init_iters': 1,
        f'{SYNTHESIS}.synthesizer.iters': 1,
        f'{SYNTHESIS}.synthesizer.batch_size': 2,
        'train_dataloader.sampler.num_samples': 2,
    },
)

# Of each data set: classes, mean, std, and the images' size.
FACTS = {
    'cifar10': (
        10,
        [125.307, 122.961, 113.8575],
        [51.5865, 50.847, 51.255],
        32,
    ),
    'cifar100': (
        100,
        [129.304, 124.070, 112.434],
        [68.170, 65.392, 70.418],
        32,
    ),
    'svhn': (10, [127.5] * 3, [127.5] * 3, 32),
    'tiny-imagenet': (
        200,
        [122.451, 114.266, 101.363],
        [70.635, 68.621, 71.936],
        64,
    ),
    'imagenet': (
        1000,
        [123.675, 116.28, 103.53],
        [58.395, 57.12, 57.375],
        224,
    ),
    'digits': (10, [77.9], [95.9], 8),
    'digits16': (10, [77.9], [81.3], 16),
}
# Height and width in place of larger ones, which would take minutes.
SMALL = (32, 32)
SMALLER = {
    'imagenet': {'model.image_shape': (3, *SMALL)},
    'tiny-imagenet': {
        'model.image_shape': (3, *SMALL),
        f'{SYNTHESIS}.synthesizer.generator.img_size': SMALL[0],
    },
}
# Mean and std of strangers' teachers, where they are not the data set's.
OF_STRANGERS = {
    name: ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    for name in CONFIGS
    if 'resnet56_resnet20_cifar10' in name or 'resnet56_pruned_cifar10' in name
}
CLASSES = {
    'cifar10': CIFAR10_CATEGORIES,
    'cifar100': CIFAR100_CATEGORIES,
    'svhn': tuple('0123456789'),
    'tiny-imagenet': [f'n{number:08d}' for number in range(200)],
}


def data_set_of(name):
    return next((d for d in FACTS if name.endswith(f'_{d}')), None)


def all_of(key, part):
    """Every value of a key, wherever in a config."""
    found = []
    if isinstance(part, dict):
        for name, value in part.items():
            found += [value] if name == key else all_of(key, value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            found += all_of(key, value)
    return found


def inherits_mmrazor(path):
    text = path.read_text()
    bases = re.findall(r"'(\.\.?/[\w./-]+\.py)'", text)
    return "'mmrazor::" in text or any(
        inherits_mmrazor(path.parent / base) for base in bases
    )


@pytest.mark.parametrize('name', CONFIGS)
def test_nothing_of_another_data_set_is_left(name):
    path = ROOT / f'configs/{name}.py'
    cfg = Config.fromfile(path)
    # MMRazor's own configs name it, and are not to be changed.
    if not inherits_mmrazor(path):
        assert 'mmcls' not in repr(cfg._cfg_dict)
    classes = set(all_of('num_classes', cfg._cfg_dict))
    data_set = data_set_of(name)
    if data_set is None:
        assert len(classes) == 1
        return
    num_classes, mean, std, size = FACTS[data_set]
    if name in OF_STRANGERS:
        mean, std = OF_STRANGERS[name]
    assert classes <= {num_classes}
    assert all(v == mean for v in all_of('mean', cfg._cfg_dict))
    assert all(v == std for v in all_of('std', cfg._cfg_dict))
    assert set(all_of('img_size', cfg._cfg_dict)) <= {size}
    assert set(all_of('crop_size', cfg._cfg_dict)) <= {size}
    shapes = all_of('image_shape', cfg._cfg_dict)
    assert all(tuple(shape) == (len(mean), size, size) for shape in shapes)
    for other in set(FACTS) - {data_set}:
        for root in all_of('data_root', cfg._cfg_dict):
            assert not str(root).endswith(f'/{other}')
        for path in all_of('ckpt_path', cfg._cfg_dict):
            assert f'_{other}/' not in str(path)


@pytest.mark.parametrize('name', CONFIGS)
def test_rates_are_for_the_batch_of_the_config(name):
    """Or --auto-scale-lr would scale them for one process, too."""
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    base = cfg.get('auto_scale_lr', {}).get('base_batch_size')
    assert base in (None, (cfg.train_dataloader or {}).get('batch_size'))


def test_what_the_metafiles_list():
    """Configs that exist, all of them, and no result that is not marked."""
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    listed = set()
    for path in index['Import']:
        content = yaml.safe_load((ROOT / path).read_text())
        collections = {c['Name']: c for c in content['Collections']}
        for collection in collections.values():
            assert (ROOT / collection['README']).is_file()
            assert collection['Paper']['URL'].startswith('https://')
        for model in content['Models']:
            assert model['In Collection'] in collections
            assert (ROOT / model['Config']).is_file()
            assert Path(model['Config']).stem == model['Name']
            listed.add(model['Config'])
            published = model['Metadata'].get('Published')
            assert published is None or published['Source']
            teacher = model['Metadata'].get('Teacher', {}).get('Config')
            assert teacher is None or (ROOT / teacher).is_file()
    ours = {p for p in listed if p.startswith('configs/csd/')}
    assert ours == {f'configs/{n}.py' for n in CONFIGS if n[:4] == 'csd/'}


def test_the_variables_of_the_base_name_their_options():
    path = ROOT / 'configs/_base_/csd.py'
    cfg = Config.fromfile(path)._cfg_dict
    text = path.read_text().split('# ---- Frequently modified')[1]
    text = text.split('synthesis = dict(')[0]
    # (comment, names of variables) of each assignment
    found = re.findall(r'((?:# .*\n)+)(\w+(?:, \w+)*) = ', text)
    assert [names for _, names in found] == [
        'img_size',
        'max_epochs',
        'steps, batch_size',
    ]
    for comment, _ in found:
        options = re.findall(r'\w+(?:\.\w+)+', comment)
        assert options
        for option in options:
            node = cfg
            for name in option.split('.'):
                node = node[name]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Where the configs' own paths lead to small images."""
    place = tmp_path_factory.mktemp('place')
    rng = np.random.default_rng(0)
    for data_set, names in CLASSES.items():
        size = FACTS[data_set][3]
        test = 'val' if data_set == 'tiny-imagenet' else 'test'
        # TinyImageNet wants all of its classes.
        names = names if data_set == 'tiny-imagenet' else names[:2]
        for split in ('train', test):
            for name in names:
                folder = place / 'data' / data_set / split / name
                folder.mkdir(parents=True)
                pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
                Image.fromarray(pixels).save(folder / '0.png')
    for path in ('val/0.JPEG', 'val/1.JPEG', 'meta/val.txt'):
        path = place / 'data/imagenet' / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == '.txt':
            path.write_text('0.JPEG 0\n1.JPEG 999\n')
        else:
            pixels = rng.integers(0, 256, (100, 80, 3), np.uint8)
            Image.fromarray(pixels).save(path)
    yield place
    shutil.rmtree(place)  # teachers are large


def put_teachers(cfg, place):
    """Teachers with random weights where a config expects them.

    Their networks are those of the configs that train them, if there are.

    Returns:
        dict: Options that name those which would be downloaded.
    """
    options = {}
    teachers = cfg.model.get('teachers', {})
    for name, teacher in (
        teachers.items() if isinstance(teachers, dict) else ()
    ):
        path = Path(teacher.get('ckpt_path') or '')
        network = teacher.build_cfg
        made_by = path.parent.name
        if path.parts[:1] == ('work_dirs',):
            target = place / path
            network = Config.fromfile(ROOT / f'configs/teachers/{made_by}.py')
            network = network.model
        elif str(path).startswith('https:'):
            target = place / 'downloaded' / path.name
            made_by = 'resnet34_cifar10'
            if 'in1k' in path.name:
                made_by = 'resnet50_imagenet'
            options[f'model.teachers.{name}.ckpt_path'] = str(target)
        else:
            continue
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            model = build(network.to_dict())
            # Statistics as of a network that has seen images; without them
            # its maps grow from layer to layer.
            for layer in bn_layers(model):
                layer.momentum = None
            _, mean, _, size = FACTS[data_set_of(made_by)]
            with torch.no_grad():
                size = min(size, 64)  # smaller, variances of few numbers
                model.train()(torch.randn(8, len(mean), size, size))
            torch.save(model.state_dict(), target)
    return options


def cut(name, cfg):
    """Options for a short run of a config."""
    folder = name.split('/')[0]
    options = dict(CUT, **CUT_OF_FOLDER[folder])
    if folder == 'csd':
        options.update(SMALLER.get(data_set_of(name), {}))
    kept = {}
    for key, value in options.items():
        part = cfg
        for word in key.split('.')[:-1]:
            part = part.get(word) if isinstance(part, dict) else None
        if part:
            kept[key] = value
    return kept


def scalars(work_dir):
    path = next(Path(work_dir).glob('*/vis_data/scalars.json'))
    merged = {}
    for line in path.read_text().splitlines():
        merged.update(json.loads(line))
    return merged


@pytest.mark.parametrize(
    'name', [name for name in CONFIGS if name.split('/')[0] in CUT_OF_FOLDER]
)
def test_one_step_of_each_kind(name, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv('TORCH_HOME', str(place / 'torch'))
    path = ROOT / f'configs/{name}.py'
    original = Config.fromfile(path)._cfg_dict
    options = put_teachers(original, place)
    work_dir = place / 'run' / uuid.uuid4().hex
    cfg = load_config(
        Namespace(
            config=str(path),
            cfg_options={**cut(name, original), **options},
            launcher='none',
            work_dir=str(work_dir),
        )
    )
    cfg.experiment_name = uuid.uuid4().hex
    # It has tests of its own; here its passes would take a fourth of the time.
    cfg.default_hooks.pop('report', None)
    runner = Runner.from_cfg(cfg)
    runner.train()
    told = scalars(work_dir)
    assert math.isfinite(told['loss'])
    assert 0 <= told['accuracy/top1'] <= 100
    assert runner.iter == 1
    if name.startswith('csd/'):
        if original.model.aux_head is not None:
            assert math.isfinite(told['loss_aux'])
            assert math.isfinite(told['synthesis/loss_csd'])
        bank = BankFolder(work_dir / 'bank')
        num_classes, mean, _, size = FACTS[data_set_of(name)]
        mean, _ = OF_STRANGERS.get(name, (mean, None))
        assert bank.num_classes == num_classes and len(bank) == 4
        sizes = (min(size, *SMALL),) * 2
        assert bank.image_shape == (len(mean), *sizes)
        plain = Config.fromfile(work_dir / 'student/student.py').model
        assert plain.head.num_classes == num_classes
        assert plain.data_preprocessor.mean == mean
    shutil.rmtree(work_dir)


@pytest.mark.parametrize('epochs', [1, 3])
def test_the_number_of_epochs_sets_the_rates(tiny_runner, epochs):
    runner = tiny_runner(**{'train_cfg.max_epochs': epochs})
    runner.train()
    rates = runner.optim_wrapper.get_lr()
    # The last epoch's: half a cosine from 0.1 to 0 at the end of it.
    last = 0.1 * (1 + math.cos(math.pi * (epochs - 1) / epochs)) / 2
    assert max(rates['architecture.lr']) == pytest.approx(last)
    assert min(rates['aux_head.lr']) == 0.1

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""``test_*`` is ``val_*`` where a config or option changes only that."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from mmengine.registry import DATASETS
from PIL import Image

from csd_mmrazor.cli.config import load_config
from csd_mmrazor.cli.test import let_test_on, parse_args
from csd_mmrazor.export import calibration_images, classes_of
from csd_mmrazor.utils import load_file

BASE = 'configs/csd/csd_vgg11_resnet18_cifar10.py'
OWN = "dict(batch_size=7, dataset=dict(_delete_=True, type='CustomDataset'))"
OTHER = "dict(batch_size=9, dataset=dict(_delete_=True, type='Other'))"


def load(path, **options):
    return load_config(
        Namespace(
            config=str(path),
            cfg_options=options,
            work_dir=None,
            launcher='none',
        )
    )


def types(cfg):
    return (
        cfg.val_dataloader.dataset.type,
        cfg.test_dataloader.dataset.type,
    )


@pytest.mark.parametrize(
    'files, expected',
    [
        # Each file inherits the one before it.
        ([f'val_dataloader = {OWN}'], 'CustomDataset CustomDataset'),
        ([f'val_dataloader = {OWN}', ''], 'CustomDataset CustomDataset'),
        (
            [f'val_dataloader = {OWN}\ntest_dataloader = val_dataloader', ''],
            'CustomDataset CustomDataset',
        ),
        (
            [f'val_dataloader = {OWN}\ntest_dataloader = {OTHER}', ''],
            'CustomDataset Other',
        ),
        (
            [f'test_dataloader = {OTHER}', f'val_dataloader = {OWN}'],
            'CustomDataset Other',
        ),
        (
            [
                f'test_dataloader = {OTHER}',
                f'val_dataloader = {OWN}\ntest_dataloader = val_dataloader',
                f'val_dataloader = {OTHER}',
            ],
            'Other Other',
        ),
        ([f'test_dataloader = {OTHER}'], 'mmrazor.CIFAR10Images Other'),
        ([''], 'mmrazor.CIFAR10Images mmrazor.CIFAR10Images'),
    ],
)
def test_in_files(tmp_path, files, expected):
    base = str(ROOT / BASE)
    for number, text in enumerate(files):
        path = tmp_path / f'{number}.py'
        path.write_text(f'_base_ = {base!r}\n{text}\n')
        base = str(path)
    assert ' '.join(types(load(path))) == expected


@pytest.mark.parametrize('base', [BASE, 'configs/_base_/csd.py'])
def test_evaluator_and_cfg(tmp_path, base):
    """Of a base that has no data to test on, too."""
    path = tmp_path / 'config.py'
    path.write_text(
        f'_base_ = {str(ROOT / base)!r}\n'
        f'val_dataloader = {OWN}\n'
        "val_evaluator = dict(type='Accuracy', topk=(2,))\n"
        'val_cfg = dict(fp16=True)\n'
    )
    cfg = load(path)
    assert cfg.test_evaluator == cfg.val_evaluator
    assert cfg.test_evaluator.topk == (2,)
    assert cfg.test_cfg == dict(fp16=True)
    assert cfg.test_dataloader == cfg.val_dataloader
    # A loop of its own is none for tests.
    path.write_text(path.read_text() + "val_cfg['type'] = 'ValLoop'\n")
    assert load(path).test_cfg == {}


@pytest.mark.parametrize(
    'section, value',
    [
        ('dataloader.batch_size', 3),
        ('evaluator.topk', (2,)),
        ('cfg.fp16', True),
    ],
)
def test_in_options(section, value):
    part, name = section.split('.')
    path = ROOT / BASE
    cfg = load(path, **{f'val_{section}': value})
    assert cfg[f'test_{part}'][name] == cfg[f'val_{part}'][name] == value
    cfg = load(path, **{f'test_{section}': value})
    assert cfg[f'val_{part}'].get(name) != value
    cfg = load(path, val_dataloader=None, val_evaluator=None, val_cfg=None)
    assert cfg.test_dataloader and cfg.test_evaluator


def test_weights_of_other_names(forked, tmp_path):
    """A stranger's file of the same network, by the names of its author."""
    weights = load_file(ROOT / 'docs/results/weights/digits16_csd_seed0.pth')
    renamed = {
        'module.'
        + key.replace('head.fc', 'linear').replace('backbone.', ''): v
        for key, v in weights['state_dict'].items()
    }
    torch.save(dict(state_dict=renamed, best_prec1=85.28), tmp_path / 'a.th')
    config = ROOT / 'configs/csd/csd_digits16.py'
    done = forked(config, 'a.th', tool='test.py')
    assert done.status != [0]
    assert 'map them by --revise-keys PATTERN=NEW' in done.stderr
    pairs = (r'^linear\.=head.fc.', r'^(?!head|a=b)=backbone.')
    done = forked(config, 'a.th', '--revise-keys', *pairs, tool='test.py')
    assert done.status == [0], done.output
    assert 'accuracy/top1: 85.2778' in done.stdout
    weights['state_dict']['head.fc.bias'][3] = float('nan')
    torch.save(weights, tmp_path / 'nan.pth')
    done = forked(config, 'nan.pth', tool='test.py')
    assert done.status == [1] and 'top1' not in done.output
    message = 'checkpoint nan.pth (ImageClassifier) has 1 NaN or infinite of'
    assert message in done.stderr


def test_a_name_less(monkeypatch, capsys):
    argv = ['test.py', 'c.py', 'a.th', '--revise-keys', '^linear']
    monkeypatch.setattr('sys.argv', argv)
    with pytest.raises(SystemExit):
        parse_args()
    assert '--revise-keys takes PATTERN=NEW' in capsys.readouterr().err


def test_images_of_a_folder(tmp_path):
    """They are RGB, whatever the config's own are."""
    for number in range(10):
        (tmp_path / f'{number}').mkdir()
        image = Image.new('RGB', (40, 32), (250, number, 0))
        image.save(tmp_path / f'{number}/a.png')
    cfg = load(ROOT / BASE)
    cfg.model.data_preprocessor.to_rgb = True
    # Named by their numbers, which the names of classes do not forbid.
    let_test_on(cfg, str(tmp_path), ['cat', 'dog'])
    assert not cfg.model.data_preprocessor.to_rgb
    data = DATASETS.build(cfg.test_dataloader.dataset)
    assert [data[n]['data_samples'].gt_label.item() for n in range(10)] == [
        *range(10)
    ]
    assert data[3]['inputs'][:, 0, 0].tolist() == [250, 3, 0]
    # Whatever is hidden beside them; so for what calibrates a network.
    (tmp_path / '.thumbs').mkdir()
    names = [f'class {n}' for n in range(10)]
    let_test_on(cfg, str(tmp_path), names)
    assert len(DATASETS.build(cfg.test_dataloader.dataset)) == 10
    pictures = calibration_images(str(tmp_path), (3, 32, 32), 10, names)
    assert pictures.labels.tolist() == [*range(10)]
    del cfg.model['data_preprocessor']
    cfg.pop('data_preprocessor', None)
    with pytest.raises(ValueError, match='--val .* needs a config of CSD'):
        let_test_on(cfg, str(tmp_path), None)
    cfg.model.data_preprocessor = dict(num_classes=10)
    del cfg.model.image_shape
    with pytest.raises(ValueError, match='--val .* needs a config of CSD'):
        let_test_on(cfg, str(tmp_path), None)


def test_folders_of_other_classes(tmp_path):
    """Sorted, they would be taken for the run's classes in another order."""
    cfg = load(ROOT / BASE)
    cfg.model.data_preprocessor.num_classes = 2
    for name in ('machine', 'zoo'):
        (tmp_path / name).mkdir()
        Image.new('RGB', (32, 32)).save(tmp_path / f'{name}/a.png')
    meta = dict(dataset_meta=dict(classes=('zoo', 'machine')))
    torch.save(dict(meta=meta, state_dict={}), tmp_path / 'a.pth')
    names = classes_of(cfg, tmp_path / 'a.pth')
    assert names == ('zoo', 'machine')
    let_test_on(cfg, str(tmp_path), names)
    data = DATASETS.build(cfg.test_dataloader.dataset)
    labels = {Path(path).parent.name: label for path, label in data.images}
    assert labels == dict(zoo=0, machine=1)
    message = '1 of 2 folders that do not match animal, machine'
    with pytest.raises(ValueError, match=message):
        let_test_on(cfg, str(tmp_path), ['animal', 'machine'])

# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path

import pytest
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.datasets import build_dataset
from mmrazor.registry import DATASETS
from PIL import Image

from csd_mmrazor.export import class_names, plain_config


@pytest.mark.parametrize(
    'own', [None, dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])]
)
@pytest.mark.parametrize('swap', ['bgr_to_rgb', 'rgb_to_bgr', None])
def test_the_preprocessing_is_that_of_the_algorithm(own, swap):
    """Which is what the student was trained with, not the network's own."""
    cfg = Config.fromfile(ROOT / 'configs/csd/csd_wrn40-2_wrn16-1_svhn.py')
    cfg.model.data_preprocessor = dict(
        type='ImgDataPreprocessor', mean=[10.0], std=[20.0]
    )
    if swap:
        cfg.model.data_preprocessor[swap] = True
    if own:
        cfg.model.architecture.data_preprocessor = own
    plain = plain_config(cfg).model.data_preprocessor
    assert (plain.mean, plain.std) == ([10.0], [20.0])
    assert plain.get('to_rgb', False) == (swap is not None)


def test_of_a_distillation_or_a_classifier():
    for model in (
        None,
        {},
        dict(type='DAFLDataFreeDistillation', teachers={}),
    ):
        with pytest.raises(ValueError, match='no model.architecture'):
            plain_config(Config(dict(model=model)))


@pytest.mark.parametrize(
    'dataset, names',
    [
        (dict(type='mmrazor.FolderImages', classes=['b', 'a']), ['b', 'a']),
        (dict(type='CustomDataset', classes='names.txt'), None),
        (dict(type='CustomDataset', metainfo=dict(classes=('c',))), ('c',)),
        (dict(type='mmrazor.DummyImages'), None),
        (dict(type='mmrazor.Digits', classes=('x',)), ('x',)),
        (dict(type='mmrazor.Digits'), tuple('0123456789')),
    ],
)
def test_names_of_classes(dataset, names):
    loader = dict(dataset=dataset)
    cfg = Config(dict(default_scope='mmpretrain', val_dataloader=loader))
    assert class_names(cfg) == names
    # Test images stand in for those of validation, unless there is none.
    cfg = Config(dict(default_scope='mmpretrain', test_dataloader=loader))
    assert class_names(cfg) == names
    cfg.val_dataloader = None
    assert class_names(cfg) is None


def folders(root, names, size=(8, 8), suffix='png'):
    for place, name in enumerate(names):
        (root / name).mkdir(parents=True)
        picture = Image.new('RGB', size, (20 * place, 250, 30))
        picture.save(root / name / f'a.{suffix}')
    return str(root)


def of_folder(root, channels=3, **data):
    """A run that was validated on a folder of images."""
    number = sum(path.is_dir() for path in Path(root).iterdir())
    data = dict(
        dict(
            type='mmrazor.FolderImages',
            data_root=root,
            image_shape=[channels, 8, 8],
            num_classes=number,
        ),
        **data,
    )
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                _scope_='mmrazor',
                image_shape=[channels, 8, 8],
                data_preprocessor=dict(num_classes=number, mean=[0], std=[1]),
                architecture=dict(type='mmpretrain.ImageClassifier'),
            ),
            val_dataloader=dict(batch_size=2, dataset=data),
            val_evaluator=dict(type='Accuracy'),
        )
    )


@pytest.mark.parametrize(
    'names, classes, is_written',
    [
        (['cat', 'dog'], None, True),
        (['cat', 'dog'], ['cat', 'dog'], True),
        (['cat', 'dog'], ['dog', 'cat'], False),
        ([f'{n}' for n in range(10)], None, True),
        # mmpretrain sorts 10 before 2.
        ([f'{n}' for n in range(11)], None, False),
        ([f'{n:02d}' for n in range(11)], None, True),
    ],
)
@pytest.mark.parametrize('channels', [1, 3])
def test_a_folder_of_images_is_the_same_for_mmpretrain(
    tmp_path, names, classes, is_written, channels
):
    """Or the config names no test images."""
    root = folders(tmp_path, names)
    cfg = of_folder(root, channels, classes=classes)
    plain = plain_config(cfg)
    assert ('test_dataloader' in plain) == is_written
    if not is_written:
        return
    ours = DATASETS.build(cfg.val_dataloader.dataset)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        theirs = build_dataset(plain.test_dataloader.dataset)
    assert len(ours) == len(theirs) == len(names)
    for one, other in zip(ours, theirs):
        label = one['data_samples'].gt_label
        assert label == other['data_samples'].gt_label
        # As BGR, which the preprocessor turns; grey is rounded elsewhere.
        far = (one['inputs'].int() - other['inputs'].flip(0).int()).abs()
        assert far.max() <= (channels == 1)


@pytest.mark.parametrize('scope', ['', 'mmpretrain.'])
@pytest.mark.parametrize('to_rgb', [True, False])
def test_a_data_set_of_mmpretrain_keeps_its_order(tmp_path, scope, to_rgb):
    """A network may take BGR, or a pipeline end in RGB."""
    data = dict(type=f'{scope}CustomDataset', data_prefix=str(tmp_path))
    cfg = of_folder(str(tmp_path))
    cfg.val_dataloader.dataset = data
    cfg.model.data_preprocessor.to_rgb = to_rgb
    plain = plain_config(cfg)
    assert plain.test_dataloader.dataset == data
    assert plain.model.data_preprocessor.to_rgb is to_rgb
    # Of a folder, which runs read as RGB.
    cfg = of_folder(folders(tmp_path, ['cat', 'dog']))
    cfg.model.data_preprocessor.to_rgb = to_rgb
    assert plain_config(cfg).model.data_preprocessor.to_rgb is True


@pytest.mark.parametrize(
    'change',
    [dict(size=(9, 8)), dict(size=(16, 16)), dict(suffix='webp')],
)
def test_images_that_mmpretrain_would_not_read_alike(tmp_path, change):
    root = folders(tmp_path, ['cat', 'dog'], **change)
    assert 'test_dataloader' not in plain_config(of_folder(root))


def test_images_of_a_program_are_in_no_folder(tmp_path, monkeypatch):
    """Least of all in the current one."""
    folders(tmp_path, ['cat', 'dog'])
    monkeypatch.chdir(tmp_path)
    cfg = of_folder('.', type='mmrazor.LentImages', dataset='val')
    del cfg.val_dataloader.dataset['data_root']
    assert 'test_dataloader' not in plain_config(cfg)

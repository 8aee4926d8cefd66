# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
from helpers import ROOT
from mmengine.config import Config

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

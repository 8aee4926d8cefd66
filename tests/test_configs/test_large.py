# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The configs of docs/large.md."""

import torch
from helpers import ROOT
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as CLASSIFIERS
from mmrazor.registry import MODELS

from csd_mmrazor.utils.config_files import read_config
from csd_mmrazor.utils.sections import check_sections

FOLDER = ROOT / 'docs/large'


def test_a_run_of_csd_takes_the_teacher_of_its_config():
    trained = read_config(str(FOLDER / 'teacher_64.py'))
    cfg = read_config(str(FOLDER / 'csd_64.py'))
    for each in (trained, cfg):
        check_sections(each)
    cfg.model.teachers.teacher.ckpt_path = 'none'
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = CLASSIFIERS.build(trained.model)
    with DefaultScope.overwrite_default_scope('mmrazor'):
        model = MODELS.build(cfg.model)
    (teacher,) = model.teachers.values()
    shapes, expected = (
        {key: value.shape for key, value in each.state_dict().items()}
        for each in (teacher, classifier)
    )
    assert shapes == expected
    assert tuple(model.image_shape) == (3, 64, 64)
    images = torch.zeros(2, 3, 64, 64)
    assert model.architecture(images, mode='tensor').shape == (2, 10)
    for each in (trained, cfg):  # both see the same validation
        assert each.val_dataloader.dataset.pipeline[0].scale == 64

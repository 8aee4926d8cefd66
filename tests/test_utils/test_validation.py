# Copyright (c) csd_mmrazor developers. All rights reserved.
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmpretrain.datasets import CustomDataset
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader, IterableDataset, Subset

from csd_mmrazor.utils.validation import (
    check_labels,
    check_metrics,
    check_validation,
)

COSINE = dict(type='CosineAnnealingLR', by_epoch=True)
PLATEAU = SimpleNamespace(need_val_args=True, monitor='acc')


@pytest.mark.parametrize(
    'schedulers',
    [
        None,
        COSINE,
        [COSINE],
        dict(architecture=COSINE, aux_head=[]),
        dict(architecture=[COSINE, COSINE]),
    ],
)
def test_schedules_that_are_not_built_yet(schedulers):
    runner = SimpleNamespace(hooks=[], param_schedulers=schedulers)
    check_metrics(runner, dict(top1=1.0))


@pytest.mark.parametrize('schedulers', [[PLATEAU], dict(a=[PLATEAU], b=[])])
def test_a_schedule_of_no_metric(schedulers):
    runner = SimpleNamespace(hooks=[], param_schedulers=schedulers)
    with pytest.raises(ValueError, match="monitor='acc'.*'top1'"):
        check_metrics(runner, dict(top1=1.0))
    check_metrics(runner, dict(acc=1.0))


@pytest.fixture
def images(tmp_path):
    """One in each of two folders, 1 and 3, and as lists with labels."""
    for name in '13':
        (tmp_path / name).mkdir()
        image = np.full((8, 8, 3), int(name), np.uint8)
        cv2.imwrite(str(tmp_path / f'{name}/{name}.png'), image)
    (tmp_path / 'right.txt').write_text('1/1.png 0\n3/3.png 2\n')
    (tmp_path / 'wrong.txt').write_text('1/1.png 1\n3/3.png 3\n')
    return tmp_path


def outputs(label, classes=3):
    sample = DataSample().set_gt_label(label)
    return [sample.set_pred_score(torch.zeros(classes))]


def test_labels_that_are_no_classes(images):
    def of(name):
        return CustomDataset(str(images), ann_file=name)

    check_labels(of('right.txt'), outputs(0), 'val_dataloader')
    # Also of images that no batch has yet.
    message = r'^test_dataloader.dataset has the labels 3, but .*3 cl.*0..2:'
    for dataset in (of('wrong.txt'), Subset(of('wrong.txt'), [0])):
        with pytest.raises(ValueError, match=message):
            check_labels(dataset, outputs(1), 'test_dataloader')
    with pytest.raises(ValueError, match='has the labels 3, but'):
        check_labels([], outputs(3), 'val_dataloader')
    # What says nothing of its labels is nobody's mistake.
    for dataset in ([], CustomDataset(str(images), with_label=False)):
        check_labels(dataset, [DataSample()], 'val_dataloader')
        check_labels(dataset, [], 'val_dataloader')


def test_folders_that_lack(images):
    doubt = check_labels(CustomDataset(str(images)), outputs(0), 'loader')
    assert doubt.startswith('loader.dataset has folders of 2 classes, 1, 3, b')
    (images / '2').mkdir()
    whole = CustomDataset(str(images))
    assert whole.get_gt_labels().tolist() == [0, 2]
    assert check_labels(whole, outputs(0), 'val_dataloader') == ''


def test_images_of_several_sizes_are_found_before_a_run(tiny_runner):
    """Also where those of the first batch are of one size."""
    runner = tiny_runner()
    samples = [
        dict(
            inputs=torch.zeros(1, 8, width, dtype=torch.uint8),
            data_samples=DataSample().set_gt_label(0),
        )
        for width in [8] * 9 + [7] * 3
    ]
    for images, are_alike in ((samples[:9], True), (samples, False)):
        runner.val_loop.dataloader = DataLoader(
            images, 4, collate_fn=pseudo_collate
        )
        if are_alike:
            assert 'accuracy/top1' in check_validation(runner)
            continue
        with pytest.raises(ValueError, match='different sizes, 8x7, 8x8'):
            check_validation(runner)


def test_images_that_only_come_in_turn(tiny_runner):
    runner = tiny_runner()
    dataset = runner.val_loop.dataloader.dataset

    class InTurn(IterableDataset):
        def __iter__(self):
            return map(dataset.__getitem__, range(8))

    runner.val_loop.dataloader = DataLoader(
        InTurn(), 4, collate_fn=pseudo_collate
    )
    assert 'accuracy/top1' in check_validation(runner)

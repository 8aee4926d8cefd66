# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from conftest import build
from mmpretrain.structures import DataSample

from csd_mmrazor.models.preprocessors import normalize_images

NORM = dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0])


def preprocessor(**kwargs):
    return build(dict(dict(type='BankDataPreprocessor', **NORM), **kwargs))


def by_hand(images):
    mean = torch.tensor(NORM['mean']).view(3, 1, 1)
    std = torch.tensor(NORM['std']).view(3, 1, 1)
    return (images.float() - mean) / std


def test_bank_batches():
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    labels = torch.arange(6)
    out = preprocessor()(dict(inputs=images, labels=labels), True)
    torch.testing.assert_close(out['inputs'], by_hand(images))
    assert torch.equal(out['labels'], labels)


def test_same_for_uint8_and_for_images_in_0_1():
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    for module in (preprocessor(), preprocessor(mean=None, std=None)):
        torch.testing.assert_close(
            normalize_images(images.float() / 255, module),
            normalize_images(images, module),
        )


@pytest.mark.parametrize('training', [True, False])
def test_augments_in_training_only(training):
    module = preprocessor(
        augment=dict(type='RandomCropFlip', padding=0, flip_prob=1)
    )
    images = torch.randint(256, (6, 3, 8, 8), dtype=torch.uint8)
    out = module(dict(inputs=images), training)['inputs']
    expected = by_hand(images.flip(3) if training else images)
    torch.testing.assert_close(out, expected)


def test_real_images_are_treated_as_by_mmpretrain():
    module = preprocessor(to_rgb=True, num_classes=10)
    images = [
        torch.randint(256, (3, 8, 8), dtype=torch.uint8) for _ in range(4)
    ]
    samples = [DataSample().set_gt_label(i) for i in range(4)]
    for training in (True, False):
        out = module(dict(inputs=images, data_samples=samples), training)
        expected = by_hand(torch.stack(images).flip(1))
        torch.testing.assert_close(out['inputs'], expected)
        assert [s.gt_label.item() for s in out['data_samples']] == [0, 1, 2, 3]

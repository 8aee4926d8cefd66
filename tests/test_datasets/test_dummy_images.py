# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest

from csd_mmrazor.datasets import DummyImages


def test_dummy_images():
    images = DummyImages((1, 8, 8), length=3, metainfo=dict(classes='ab'))
    assert len(images) == 3
    item = images[2]
    assert item['inputs'].shape == (1, 8, 8) and not item['inputs'].any()
    assert item['data_samples'].gt_label.tolist() == [0]
    assert images.metainfo == dict(classes='ab')
    assert len([*images]) == 3
    assert len(DummyImages()) == 50000
    with pytest.raises(ValueError, match='length of DummyImages .* but got 0'):
        DummyImages(length=0)

# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict, Optional, Sequence

import torch
from mmpretrain.structures import DataSample
from mmrazor.registry import DATASETS
from torch.utils.data import Dataset

from ..utils import check_integer, register_alias


@DATASETS.register_module()
class DummyImages(Dataset[Dict[str, Any]]):
    """Black images of class 0, for algorithms that only count them.

    MMRazor's DAFL, ZSKT and DFAD load the real training set and use nothing
    of a batch but its size. With this in its place they read no real image.

    Args:
        image_shape (sequence[int]): (C, H, W). Defaults to (3, 32, 32).
        length (int): How many there are. Defaults to 50000, as in CIFAR-10.
        metainfo (dict, optional): As in other datasets. Defaults to None.
    """

    def __init__(
        self,
        image_shape: Sequence[int] = (3, 32, 32),
        length: int = 50000,
        metainfo: Optional[Dict[str, Any]] = None,
    ) -> None:
        check_integer('length of DummyImages', length)
        self.image = torch.zeros(tuple(image_shape), dtype=torch.uint8)
        self.length = length
        self.metainfo = dict(metainfo or {})

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Dict[str, Any]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return dict(
            inputs=self.image, data_samples=DataSample().set_gt_label(0)
        )


register_alias(DATASETS, 'BlankImages', DummyImages)

# Copyright (c) csd_mmrazor developers. All rights reserved.
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmrazor.registry import DATASETS
from PIL import Image

# Places of the training images in scikit-learn's data, then of those that are
# held out from the teacher, a fifth of each digit. Its train_test_split drew
# them; to import it takes longer than all else before the first step.
_ORDER = Path(__file__).with_name('digits_order.npy')
_NUM_TRAIN = 1437
# The levels of grey in the data are 0..16.
_LEVELS = 16


@lru_cache(maxsize=1)
def _rows(path: Path) -> np.ndarray:
    """Levels of 64 pixels and the label of each image, read once."""
    return np.loadtxt(path, delimiter=',')


@DATASETS.register_module()
class Digits(BaseDataset):
    """The 1,797 handwritten digits that ship with scikit-learn.

    8x8 pixels, grey; a real data set that needs no download. A fifth of each
    digit's images, always the same, is the test split.

    Args:
        split (str): 'train' (1,437 images) or 'test' (360).
        img_size (int): Height and width the images are scaled to. Defaults
            to 8, as they are.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``.
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self, split: str, img_size: int = 8, **kwargs: Any) -> None:
        if split not in ('train', 'test'):
            raise ValueError(
                'split of Digits should be "train" or "test", '
                f'but got {split!r}.'
            )
        self.split = split
        self.img_size = img_size
        super().__init__(ann_file='', test_mode=split == 'test', **kwargs)

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Load images (H, W), uint8, and labels."""
        sklearn = find_spec('sklearn')
        if sklearn is None or sklearn.origin is None:
            raise ImportError(
                'Digits reads the images that ship with scikit-learn: run '
                '"pip install scikit-learn".'
            )
        path = Path(sklearn.origin).parent / 'datasets/data/digits.csv.gz'
        rows = _rows(path)
        order = np.load(_ORDER)
        train = self.split == 'train'
        rows = rows[order[:_NUM_TRAIN] if train else order[_NUM_TRAIN:]]
        images = np.uint8(np.round(rows[:, :-1] * (255 / _LEVELS)))
        return [
            dict(img=self._scaled(image), gt_label=int(label))
            for image, label in zip(images.reshape(-1, 8, 8), rows[:, -1])
        ]

    def _scaled(self, image: np.ndarray) -> np.ndarray:
        if self.img_size == image.shape[0]:
            return image
        size = (self.img_size, self.img_size)
        scaled = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
        return np.asarray(scaled)

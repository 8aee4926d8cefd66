# Copyright (c) csd_mmrazor developers. All rights reserved.
"""mmpretrain's data sets, which also take images in class folders."""

from pathlib import Path
from typing import Dict, List

import numpy as np
from mmpretrain.datasets import CIFAR10, CIFAR100
from mmrazor.registry import DATASETS
from PIL import Image

from ..utils import download_to
from .class_folders import list_class_folders


class ClassFoldersMixin:
    """Take images from class folders where the published files are not.

    ``data_root`` may hold what the data set is published as, or images as
    ``<split>/<class>/*.png`` or ``<class>/*.png`` (any common format). If it
    holds neither, the data set is downloaded; where that fails, the error
    says which file to put where.
    """

    def load_data_list(self) -> List[Dict]:
        """Load images (H, W, C), uint8, RGB, and labels."""
        root = Path(self.data_prefix['root'])
        if not Path(root, self.base_folder).is_dir():
            for folder in (root / self.split, root):
                if self._has_class_folders(folder):
                    return [
                        dict(img=_read(path), gt_label=label)
                        for path, label in list_class_folders(
                            folder, classes=self.CLASSES
                        )
                    ]
        if self._check_integrity():
            return super().load_data_list()
        root.mkdir(parents=True, exist_ok=True)
        option = (
            'name a folder with images as '
            f'{self.split}/<class>/*.png: --cfg-options '
            'val_dataloader.dataset.data_root=FOLDER'
        )
        with download_to(root / self.filename, self.url, option):
            return super().load_data_list()

    def _has_class_folders(self, folder: Path) -> bool:
        return folder.is_dir() and any(
            (folder / name).is_dir() for name in self.CLASSES
        )


def _read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


@DATASETS.register_module()
class CIFAR10Images(ClassFoldersMixin, CIFAR10):
    """CIFAR-10, as published or in class folders."""


@DATASETS.register_module()
class CIFAR100Images(ClassFoldersMixin, CIFAR100):
    """CIFAR-100, as published or in class folders."""

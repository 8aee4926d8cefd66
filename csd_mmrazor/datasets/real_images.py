# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Published data sets, which also take images in ImageFolder layout."""

from pathlib import Path
from typing import Any, Dict, List

from mmengine.dist import barrier, is_main_process
from mmpretrain.datasets import CIFAR10, CIFAR100, BaseDataset
from mmpretrain.datasets.utils import check_integrity
from mmrazor.registry import DATASETS

from ..utils import download_to
from .image_folder import list_image_folder
from .pictures import read_picture


def other_folder(split: str, suffix: str) -> str:
    """What can be done where a data set cannot be downloaded."""
    loader = 'train_dataloader' if split == 'train' else 'val_dataloader'
    return (
        f'name a folder with images as {split}/<class>/*.{suffix}: '
        f'--cfg-options {loader}.dataset.data_root=FOLDER'
    )


class ClassFoldersMixin(BaseDataset):
    """Take images from ImageFolder layout where the published files are not.

    ``data_root`` may hold what the data set is published as, or images as
    ``<split>/<class>/*.png`` or ``<class>/*.png`` (any common format). If it
    holds neither, the data set is downloaded; where that fails, the error
    says which file to put where.

    The data set that comes next has ``split``, ``filename`` (of what is
    downloaded), ``url``, ``CLASSES``, ``has_published_files(root)`` and
    ``is_complete()``, whether these are whole.
    """

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Load images (H, W, C), uint8, RGB, and labels."""
        root = Path(self.data_prefix['root'])
        if not self.has_published_files(root):
            for folder in (root / self.split, root):
                if self._has_image_folder(folder):
                    return [
                        dict(
                            img=read_picture(path),
                            img_path=str(path),
                            gt_label=label,
                        )
                        for path, label in list_image_folder(
                            folder, classes=self.CLASSES
                        )
                    ]
        if self.is_complete():
            return super().load_data_list()
        root.mkdir(parents=True, exist_ok=True)
        option = other_folder(self.split, 'png')
        with download_to(root / self.filename, self.url, option):
            return super().load_data_list()

    def _has_image_folder(self, folder: Path) -> bool:
        if not folder.is_dir():
            return False
        # Any folders in that of the split are meant as classes, also wrong
        # ones: nothing else is downloaded in their place.
        return any(
            path.name in self.CLASSES or folder.name == self.split
            for path in folder.iterdir()
            if path.is_dir() and not path.name.startswith('.')
        )


class _CIFARFiles(ClassFoldersMixin):
    def has_published_files(self, root: Path) -> bool:
        return Path(root, self.base_folder).is_dir()

    def is_complete(self) -> bool:
        return self._check_integrity()

    def _check_integrity(self) -> bool:
        """Whether the files of the split are whole.

        mmpretrain's, for which this stands, also reads those of the other.
        """
        files = self.train_list if self.split == 'train' else self.test_list
        root = Path(self.data_prefix['root'], self.base_folder)
        return all(
            check_integrity(str(root / name), md5) for name, md5 in files
        )


@DATASETS.register_module()
class CIFAR10Images(_CIFARFiles, CIFAR10):
    """CIFAR-10, as published or in ImageFolder layout."""


@DATASETS.register_module()
class CIFAR100Images(_CIFARFiles, CIFAR100):
    """CIFAR-100, as published or in ImageFolder layout."""


class _SVHNFiles(BaseDataset):
    """torchvision's SVHN in mmpretrain's form."""

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(self, data_root: str, split: str, **kwargs: Any) -> None:
        if split not in ('train', 'test'):
            raise ValueError(
                'split of SVHNImages should be "train" or "test", but got '
                f'{split!r}.'
            )
        from torchvision.datasets import SVHN

        self.split = split
        self.url, self.filename, self.md5 = SVHN.split_list[split]
        super().__init__(
            ann_file='',
            data_root=data_root,
            data_prefix=dict(root=''),
            test_mode=split == 'test',
            **kwargs,
        )

    def has_published_files(self, root: Path) -> bool:
        return Path(root, self.filename).is_file()

    def is_complete(self) -> bool:
        from torchvision.datasets.utils import check_integrity

        path = Path(self.data_prefix['root'], self.filename)
        return check_integrity(str(path), self.md5)

    def load_data_list(self) -> List[Dict[str, Any]]:
        from torchvision.datasets import SVHN

        root = self.data_prefix['root']
        if is_main_process() and not self.is_complete():
            SVHN(root, self.split, download=True)
        barrier()
        data = SVHN(root, self.split)
        images = data.data.transpose(0, 2, 3, 1)
        return [
            dict(img=image, gt_label=int(label))
            for image, label in zip(images, data.labels)
        ]


@DATASETS.register_module()
class SVHNImages(ClassFoldersMixin, _SVHNFiles):
    """SVHN (street view house numbers), as published or in ImageFolder layout.

    73,257 images for training and 26,032 for tests, 32x32. The published
    files are ``train_32x32.mat`` and ``test_32x32.mat``, which SciPy reads.

    Args:
        data_root (str): Where they are, or are downloaded to.
        split (str): 'train' or 'test'.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``.
    """

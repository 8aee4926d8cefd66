# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path
from typing import Any, Collection, Dict, List, Optional

from mmengine.dist import all_gather_object, barrier, is_main_process
from mmpretrain.datasets import BaseDataset
from mmrazor.registry import DATASETS

from ..utils import download_to
from .image_folder import list_image_folder
from .real_images import other_folder


@DATASETS.register_module()
class TinyImageNet(BaseDataset):
    """Tiny-ImageNet: 64x64, 200 classes, 500 + 50 images of each.

    ``data_root`` holds the published ``tiny-imagenet-200.zip``, the folder in
    it, that folder's content, or the layout of an ImageFolder,
    ``<split>/<class>/*.JPEG``.
    If it holds none of these, the file is downloaded; where that fails, the
    error says which file to put where. Classes are numbered in alphabetical
    order of their names, as torchvision's ``ImageFolder`` does.

    Images are given by their paths: the pipeline reads them
    (``LoadImageFromFile``).

    Args:
        data_root (str): Where it is, or is downloaded to.
        split (str): 'train' (100,000 images) or 'val' (10,000). The images of
            the published 'test' have no labels.
        **kwargs: Arguments of mmpretrain's ``BaseDataset``.
    """

    url = 'http://cs231n.stanford.edu/tiny-imagenet-200.zip'
    filename = 'tiny-imagenet-200.zip'
    md5 = '90528d7ca1a48142e341f4ef8d21d0de'
    num_classes = 200

    def __init__(self, data_root: str, split: str, **kwargs: Any) -> None:
        if split not in ('train', 'val'):
            raise ValueError(
                'split of TinyImageNet should be "train" or "val", but got '
                f'{split!r}.'
            )
        self.split = split
        super().__init__(
            ann_file='',
            data_root=data_root,
            test_mode=split == 'val',
            **kwargs,
        )

    def load_data_list(self) -> List[Dict[str, Any]]:
        """List images and labels."""
        root = Path(self.data_root)
        folder = self._find(root)
        # Together, or some would find what the first one unpacks below.
        if any(all_gather_object(folder is None)):
            option = other_folder(self.split, 'JPEG')
            with download_to(root / self.filename, self.url, option):
                if is_main_process() and folder is None:
                    self._unpack(root)
                barrier()
            folder = self._find(root)
        if folder is None:
            raise FileNotFoundError(
                f'{self.filename} in {root} has no folder {self.split!r}.'
            )
        annotations = folder / 'val_annotations.txt'
        if annotations.is_file():
            return self._as_annotated(annotations)
        samples = list_image_folder(folder, self.num_classes)
        self._check_classes({label for _, label in samples}, folder)
        return [
            dict(img_path=str(path), gt_label=label) for path, label in samples
        ]

    def _find(self, root: Path) -> Optional[Path]:
        """The folder of the split, if there is one."""
        for base in (root, root / 'tiny-imagenet-200'):
            if (base / self.split).is_dir():
                return base / self.split
        return None

    def _unpack(self, root: Path) -> None:
        from torchvision.datasets.utils import download_url, extract_archive

        root.mkdir(parents=True, exist_ok=True)
        download_url(self.url, str(root), self.filename, self.md5)
        # Whoever is killed meanwhile leaves no folder that looks whole.
        unpacked = root / '.unpacking'
        extract_archive(str(root / self.filename), str(unpacked))
        (unpacked / 'tiny-imagenet-200').rename(root / 'tiny-imagenet-200')
        unpacked.rmdir()

    def _check_classes(self, found: Collection[object], path: Path) -> None:
        # With some of them missing, the others would get wrong labels.
        if len(found) != self.num_classes:
            raise ValueError(
                f'{path} has {len(found)} classes, but Tiny-ImageNet has '
                f'{self.num_classes}.'
            )

    def _as_annotated(self, annotations: Path) -> List[Dict[str, Any]]:
        """Images of the published val/, which is one folder and a list."""
        lines = annotations.read_text().splitlines()
        samples = [line.split('\t')[:2] for line in lines if line]
        names = sorted({name for _, name in samples})
        self._check_classes(names, annotations)
        labels = {name: label for label, name in enumerate(names)}
        folder = annotations.parent / 'images'
        return [
            dict(img_path=str(folder / image), gt_label=labels[name])
            for image, name in samples
        ]

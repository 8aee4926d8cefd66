# Copyright (c) csd_mmrazor developers. All rights reserved.
from pathlib import Path
from typing import Any, Dict, List

from mmpretrain.datasets import ImageNet
from mmrazor.registry import DATASETS

from .real_images import other_folder


@DATASETS.register_module()
class ImageNetImages(ImageNet):
    """ImageNet's validation images in either layout of mmpretrain.

    ``data_root`` holds ``val/<class>/*.JPEG``, for all 1,000 classes, or
    ``val/*.JPEG`` with ``meta/val.txt``, whose lines are a file and a number.
    They cannot be downloaded without an account, so the error says where to
    get them and where to put them. Images are given by their paths: the
    pipeline reads them.

    Args:
        data_root (str): Where they are.
        split (str): 'train' or 'val'.
        **kwargs: Arguments of mmpretrain's ``ImageNet``.
    """

    url = 'https://image-net.org/download-images.php'

    def load_data_list(self) -> List[Dict[str, Any]]:
        """List images and labels."""
        folder = Path(self.img_prefix)
        listed = Path(self.ann_file) if self.ann_file else None
        if not folder.is_dir() or not any(folder.iterdir()):
            split = folder.name
            archive = {'val': 'ILSVRC2012_img_val.tar'}.get(
                split, 'ILSVRC2012_img_train.tar'
            )
            option = other_folder(split, 'JPEG')
            raise FileNotFoundError(
                f'The images of ImageNet are needed and not here yet.\n'
                f'  Either get {archive} from {self.url}\n'
                '  (it needs an account) and unpack it to '
                f'{folder.absolute()}/<class>/*.JPEG, or to '
                f'{folder.absolute()}/*.JPEG\n'
                f'  with {folder.parent.absolute()}/meta/{split}.txt,\n'
                f'  or {option}.'
            )
        if listed is None and not any(p.is_dir() for p in folder.iterdir()):
            raise FileNotFoundError(
                f'{folder} has images without classes: put them into folders '
                'of their classes, or a list of files and numbers at '
                f'{folder.parent.absolute()}/meta/{folder.name}.txt.'
            )
        samples: List[Dict[str, Any]] = super().load_data_list()
        return samples

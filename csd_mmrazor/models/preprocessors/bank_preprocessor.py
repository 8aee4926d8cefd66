# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, Optional

import torch
import torch.nn as nn
from mmpretrain.models import ClsDataPreprocessor
from mmrazor.registry import MODELS
from torch import Tensor


def normalize_images(images: Tensor, preprocessor: nn.Module) -> Tensor:
    """Make of images what a preprocessor would make of them.

    Args:
        images (Tensor): (N, C, H, W), uint8 in 0..255 or float in [0, 1], in
            the channel order that the networks see.
        preprocessor (nn.Module): A data preprocessor of MMEngine or
            mmpretrain; its mean and std refer to 0..255.

    Returns:
        Tensor: ``inputs``, (N, C, H, W), float32.
    """
    scale = 1.0 if images.dtype == torch.uint8 else 255.0
    images = images.float()
    if not getattr(preprocessor, '_enable_normalize', False):
        return images * scale if scale != 1.0 else images
    mean, std = preprocessor.mean, preprocessor.std
    return torch.addcmul(-mean / std, images, scale / std)


@MODELS.register_module()
class BankDataPreprocessor(ClsDataPreprocessor):
    """A preprocessor that takes whole batches of the image bank as well.

    Bank batches are augmented and normalised on the device, with no Python
    per image. Batches of real images, as validation has them, are treated as
    by mmpretrain's ``ClsDataPreprocessor``.

    Args:
        augment (dict, optional): Augmentation of bank batches, such as
            ``dict(type='RandomCropFlip')``. Defaults to None.
        **kwargs: Arguments of ``ClsDataPreprocessor``. ``to_rgb`` refers to
            real images; the bank's are RGB.

    Raises:
        ValueError: If a ``std`` is not above 0.
    """

    def __init__(self, augment: Optional[Dict] = None, **kwargs) -> None:
        super().__init__(**kwargs)
        if self._enable_normalize and not (self.std > 0).all():
            raise ValueError(
                'std of BankDataPreprocessor should be above 0, but got '
                f'{self.std.flatten().tolist()}.'
            )
        self.augment = MODELS.build(augment) if augment else None

    def forward(self, data: Dict, training: bool = False) -> Dict:
        """Prepare a batch.

        Args:
            data (dict): ``inputs`` is (N, C, H, W), uint8, for a bank batch,
                or a list of images; other keys are moved to the device.
            training (bool): Whether to augment. Defaults to False.

        Returns:
            dict: As ``data``, with ``inputs`` (N, C, H, W), float32,
            normalised.
        """
        images = data['inputs']
        if not (torch.is_tensor(images) and images.dtype == torch.uint8):
            return super().forward(data, training)
        data = self.cast_data(data)
        images = data['inputs']
        if training and self.augment is not None:
            images = self.augment(images)
        return dict(data, inputs=normalize_images(images, self))

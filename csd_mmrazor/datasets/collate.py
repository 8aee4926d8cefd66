# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Any, Dict

from mmengine.registry import FUNCTIONS
from mmpretrain.structures import DataSample
from torch import Tensor


@FUNCTIONS.register_module()
def bank_collate(
    batch: Dict[str, Tensor], data_samples: bool = False
) -> Dict[str, Any]:
    """Hand a batch of the image bank on: it is collated already.

    Args:
        batch (dict[str, Tensor]): ``inputs`` and ``labels``.
        data_samples (bool): Whether the labels become mmpretrain's
            ``data_samples``, which algorithms other than ``CSDDistillation``
            expect. Defaults to False.

    Returns:
        dict: ``inputs`` with ``labels`` or with ``data_samples``.
    """
    if not data_samples:
        return batch
    return dict(
        inputs=batch['inputs'],
        data_samples=[
            DataSample().set_gt_label(label) for label in batch['labels']
        ],
    )

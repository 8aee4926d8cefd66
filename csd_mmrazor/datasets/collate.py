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
        batch (dict[str, Tensor]): ``inputs``, ``labels`` and, of a bank with
            targets, these.
        data_samples (bool): Whether the labels become mmpretrain's
            ``data_samples``, which algorithms other than ``CSDDistillation``
            expect. Defaults to False.

    Returns:
        dict: ``labels`` as they are or as ``data_samples``, the others as
        they are.
    """
    if not data_samples:
        return batch
    others = {key: v for key, v in batch.items() if key != 'labels'}
    return dict(
        others,
        data_samples=[
            DataSample().set_gt_label(label) for label in batch['labels']
        ],
    )

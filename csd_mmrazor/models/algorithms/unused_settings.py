# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a student's config says of a training by itself."""

from typing import Any, Dict, List, Optional, Sequence

import torch.nn as nn
from mmpretrain.models.losses import CrossEntropyLoss

from ..preprocessors import own_preprocessor, same_inputs


def unused_settings(
    student: nn.Module,
    preprocessor: nn.Module,
    image_shape: Sequence[int],
    loss: Optional[nn.Module],
) -> List[str]:
    """Settings of a student that have no effect in a distillation.

    Configs of mmpretrain have them, and a student is often one of those.

    Args:
        student (nn.Module): The student.
        preprocessor (nn.Module): The algorithm's, which makes all inputs.
        image_shape (sequence[int]): (C, H, W) of the images.
        loss (nn.Module, optional): What labels are learned by. Where it is
            not the plain cross entropy, somebody chose it.

    Returns:
        list[str]: What has no effect, with what counts in its place.
    """
    found = []
    own = getattr(student, 'data_preprocessor', None)
    if own is preprocessor:
        own = None
    augments = getattr(own, 'batch_augments', None)
    if augments is not None:
        names = [type(each).__name__ for each in augments.augments]
        found.append(
            f'train_cfg.augments, {", ".join(names)} (images that are mixed '
            'have no single label)'
        )
    is_known = own is not None and own_preprocessor(student) is own
    if is_known and not same_inputs(own, preprocessor, image_shape):
        found.append(
            'mean and std of data_preprocessor (what counts is mean and std '
            'of model.data_preprocessor)'
        )
    of_head = getattr(getattr(student, 'head', None), 'loss_module', None)
    plain = _settings(CrossEntropyLoss())
    if _settings(loss) == plain and _settings(of_head) not in ({}, plain):
        found.append(
            f'head.loss, {type(of_head).__name__} (what counts is the cross '
            'entropy; to change it, set model.student_loss)'
        )
    return found


def _settings(loss: Optional[nn.Module]) -> Dict[str, Any]:
    if not isinstance(loss, nn.Module):
        return {}
    public = {k: v for k, v in vars(loss).items() if not k.startswith('_')}
    return {'type': type(loss), **public, 'training': None}

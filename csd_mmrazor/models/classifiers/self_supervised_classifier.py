# Copyright (c) csd_mmrazor developers. All rights reserved.
from typing import Dict, List

import torch
from mmpretrain.models import ImageClassifier
from mmrazor.registry import MODELS
from torch import Tensor

from ...utils import check_positive
from ..utils import pooled_features


@MODELS.register_module()
class SelfSupervisedClassifier(ImageClassifier):
    """A classifier with CSD's auxiliary head as a second task of its own.

    As a student of any of MMRazor's distillation algorithms it learns to tell
    class and transform of transformed images beside its own and the
    distiller's losses (self-supervised augmented labels, Lee et al., ICML
    2020). Other than in CSD, the task trains the backbone, too, and images
    may be real.

    Args:
        aux_head (dict): A ``SelfSupervisedAuxHead``, with its ``num_classes``
            and ``in_channels``.
        aux_weight (float): Weight of the task's loss, above 0. Defaults to 1.
        **kwargs: Arguments of mmpretrain's ``ImageClassifier``.
    """

    def __init__(
        self, *args, aux_head: Dict, aux_weight: float = 1.0, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        check_positive('aux_weight of SelfSupervisedClassifier', aux_weight)
        self.aux_head = MODELS.build(aux_head)
        self.aux_weight = aux_weight

    def loss(self, inputs: Tensor, data_samples: List) -> Dict[str, Tensor]:
        """Losses of both tasks.

        Args:
            inputs (Tensor): (N, C, H, W), normalised.
            data_samples (list[DataSample]): N, with labels.

        Returns:
            dict[str, Tensor]: The classifier's and ``loss_aux``.
        """
        # The classes first: MMRazor's recorders look at the first pass.
        losses = super().loss(inputs, data_samples)
        views, drawn = self.aux_head.views(inputs)
        features = pooled_features(self, views)
        labels = torch.cat([sample.gt_label for sample in data_samples])
        for name, value in self.aux_head.loss(features, labels, drawn).items():
            losses[name] = self.aux_weight * value
        return losses

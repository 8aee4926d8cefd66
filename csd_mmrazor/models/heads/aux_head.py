# Copyright (c) csd_mmrazor developers. All rights reserved.
import math
from functools import partial
from typing import Dict, List, Optional, Tuple, Union

import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmrazor.registry import MODELS, TASK_UTILS
from torch import Tensor

from ...utils import check_integer
from ..pretext_tasks import (
    check_views_per_image,
    chosen_views,
    draw_views,
    joint_labels,
)
from ..utils import drawn, full_precision


@MODELS.register_module()
class SelfSupervisedAuxHead(BaseModule):
    """The auxiliary head of `CSD <https://arxiv.org/abs/2307.04542>`_.

    From a student's feature of a transformed image it tells the class and the
    transform at once. How badly it does so on new images tells how little the
    student understands them.

    Linear(D, D) - ReLU - Linear(D, K * T), then L2 normalisation, so that its
    logits lie on the unit sphere and the CSD term stays bounded (authors'
    code, datafree/synthesis/csd.py, MLPHead).

    Args:
        num_classes (int): Classes K of teacher and student.
        in_channels (int): Width D of the feature.
        hidden_channels (int, optional): Width of the hidden layer. Defaults
            to ``in_channels``.
        task (dict): The transforms to recognise. Defaults to
            ``dict(type='RotationTask')``.
        normalize (bool): Whether the logits are brought to length 1. Defaults
            to True.
        scale (float): That length is multiplied by it, above 0. At 1, the
            cross entropy of K * T = 40 joint labels cannot go below 2.72,
            where chance is 3.69, and so has little gradient. Defaults to 1
            (authors' code).
        views_per_image (int, optional): How many views of each image a step
            of the head looks at, drawn at random: an unbiased estimate of the
            loss on all of them, at a part of the student's passes. Defaults
            to None, all.
        init_cfg (dict | list[dict], optional): Defaults to N(0, 0.02) and
            zero biases (authors' code, reset_model). Set None, torch's own,
            with a larger ``scale``: gradients of normalised logits are
            divided by their length, so that small weights become very large
            in the first steps of SGD, and then hardly learn.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden_channels: Optional[int] = None,
        task: Dict = dict(type='RotationTask'),
        normalize: bool = True,
        scale: float = 1.0,
        views_per_image: Optional[int] = None,
        init_cfg: Optional[Union[Dict, List[Dict]]] = dict(
            type='Normal', layer='Linear', mean=0, std=0.02, bias=0
        ),
    ) -> None:
        super().__init__(init_cfg)
        hidden_channels = hidden_channels or in_channels
        for name, value in dict(
            num_classes=num_classes,
            in_channels=in_channels,
            hidden_channels=hidden_channels,
        ).items():
            check_integer(f'{name} of SelfSupervisedAuxHead', value)
        is_number = type(scale) in (int, float)
        if not is_number or not 0 < scale < math.inf:
            raise ValueError(
                'scale of SelfSupervisedAuxHead should be a number above 0, '
                f'but got {scale!r}.'
            )
        if scale != 1 and not normalize:
            raise ValueError(
                f'scale={scale} of SelfSupervisedAuxHead is the length of '
                'normalised logits: set normalize=True, or leave it out.'
            )
        self.task = TASK_UTILS.build(task) if isinstance(task, dict) else task
        check_views_per_image(
            'views_per_image of SelfSupervisedAuxHead',
            views_per_image,
            self.task.num_views,
        )
        self.views_per_image = views_per_image
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.normalize = normalize
        self.scale = scale
        self.layers = nn.Sequential(
            nn.Linear(in_channels, hidden_channels),
            nn.ReLU(),
            nn.Linear(hidden_channels, num_classes * self.task.num_views),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Logits of the joint labels.

        Args:
            features (Tensor): Pooled features of views, (N, D).

        Returns:
            Tensor: ``aux_logits``, (N, K * T), of length ``scale`` each if
            ``normalize``.
        """
        aux_logits = self.layers(features)
        if self.normalize:
            aux_logits = F.normalize(aux_logits, dim=1)
        return aux_logits if self.scale == 1 else self.scale * aux_logits

    def views(self, inputs: Tensor) -> Tuple[Tensor, Optional[Tensor]]:
        """The views that a step looks at.

        Args:
            inputs (Tensor): (N, C, H, W), normalised.

        Returns:
            tuple[Tensor, Tensor | None]: The views, (N * V, C, H, W), those
            of an image one after the other, and which they are, (N, V); None
            for all T.
        """
        views = self.task.views(inputs)
        if self.views_per_image is None:
            return views, None
        draw = partial(
            draw_views,
            len(inputs),
            self.task.num_views,
            self.views_per_image,
            inputs.device,
        )
        (which,) = drawn(lambda: (draw(),))
        return chosen_views(views, which), which

    def loss(
        self,
        features: Tensor,
        labels: Tensor,
        drawn: Optional[Tensor] = None,
    ) -> Dict[str, Tensor]:
        """Cross entropy of the joint labels, what the head is trained with.

        Args:
            features (Tensor): Features of views of N images, (N * V, D), the
                views of an image one after the other.
            labels (Tensor): Classes of the images, (N, ).
            drawn (Tensor, optional): Which views these are, (N, V). Defaults
                to None, all.

        Returns:
            dict[str, Tensor]: ``loss_aux``, a scalar.
        """
        joint = joint_labels(labels, self.task.num_views, drawn)
        # In float32 under mixed precision as well.
        aux_logits = full_precision(self(features))
        return dict(loss_aux=F.cross_entropy(aux_logits, joint))

    def predict(self, features: Tensor) -> Tensor:
        """Most likely joint label of each view: (N, D) to (N, )."""
        return self(features).argmax(1)

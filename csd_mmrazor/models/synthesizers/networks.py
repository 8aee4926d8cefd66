# Copyright (c) csd_mmrazor developers. All rights reserved.
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import torch.nn as nn
from mmengine.model import is_model_wrapper
from torch import Tensor

from ..preprocessors import normalize_images
from ..pretext_tasks import chosen_views
from ..utils import KeptMaps, full_precision, pooled_features


class Networks(NamedTuple):
    """What a synthesizer looks at while it makes images."""

    # One teacher, or several in an ``nn.ModuleDict``.
    teachers: nn.Module
    # Modules, or None; their methods are those of mmpretrain, without types.
    student: Any
    aux_head: Any
    # Turns images (float in [0, 1]) into the networks' inputs.
    normalize: Callable[..., Any]
    # Name of the student's module that returns the auxiliary head's feature.
    aux_feature: Optional[str] = None
    # (C, H, W) of the algorithm's images, if it says.
    image_shape: Optional[Tuple[int, ...]] = None
    # What is kept of a teacher's pass besides its logits, if anything is.
    kept_maps: Optional[KeptMaps] = None

    @classmethod
    def from_algorithm(cls, algorithm: Any) -> 'Networks':
        """The networks of a MMRazor distillation algorithm.

        Args:
            algorithm (nn.Module): ``CSDDistillation``, or any algorithm of
                MMRazor with a ``student`` and a ``teacher`` or ``teachers``;
                wrapped for distributed training or not.

        Raises:
            TypeError: If it has no student or no teacher.
        """
        algorithm = _unwrapped(algorithm)
        teachers = getattr(algorithm, 'teachers', None)
        if teachers is None:
            teachers = getattr(algorithm, 'teacher', None)
        student = _unwrapped(getattr(algorithm, 'student', None))
        if student is None or teachers is None:
            raise TypeError(
                'Images can be synthesised for an algorithm that has a '
                f'student and teachers, but {type(algorithm).__name__} has '
                f'{"no student" if student is None else "no teacher"}. Use '
                "CSDDistillation or one of MMRazor's distillation "
                'algorithms as model.type.'
            )
        return cls(
            teachers=teachers,
            student=student,
            aux_head=_unwrapped(getattr(algorithm, 'aux_head', None)),
            normalize=partial(
                normalize_images, preprocessor=algorithm.data_preprocessor
            ),
            aux_feature=getattr(algorithm, 'aux_feature', None),
            image_shape=getattr(algorithm, 'image_shape', None),
        )

    def aux_logits(
        self, inputs: Tensor, drawn: Optional[Tensor] = None
    ) -> Tensor:
        """The auxiliary head's logits of views, in float32.

        Args:
            inputs (Tensor): (N, C, H, W), normalised.
            drawn (Tensor, optional): Which views, (N, V). Defaults to None,
                all T.

        Returns:
            Tensor: (N * V, K * T), the views of an image one after the other.
        """
        views = self.aux_head.task.views(inputs)
        if drawn is not None:
            views = chosen_views(views, drawn)
        features = pooled_features(self.student, views, self.aux_feature)
        logits: Tensor = full_precision(self.aux_head(features))
        return logits

    @property
    def each_teacher(self) -> List[Any]:
        """The teachers in a list."""
        if isinstance(self.teachers, nn.ModuleDict):
            return list(self.teachers.values())
        return [self.teachers]

    @property
    def by_role(self) -> Dict[str, Any]:
        """The classifiers by what messages call them."""
        if isinstance(self.teachers, nn.ModuleDict):
            roles = {f'teacher "{k}"': v for k, v in self.teachers.items()}
        else:
            roles = {'the teacher': self.teachers}
        return {**roles, 'the student': self.student}

    @property
    def modules(self) -> List[Any]:
        """All networks there are, in a list."""
        networks = (self.teachers, self.student, self.aux_head)
        return [network for network in networks if network is not None]


def _unwrapped(module: Any) -> Any:
    """A module without its wrapper for distributed training, if any."""
    return module.module if is_model_wrapper(module) else module

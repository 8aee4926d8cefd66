# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import nullcontext

import pytest
import torch
import torch.nn as nn
from helpers import build

from csd_mmrazor.models.utils.recorders import attached, distill_losses


class Mixed(nn.Module):
    """Runs in mixed precision by itself."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3)

    def forward(self, images):
        with torch.autocast('cpu', torch.bfloat16):
            return self.body(images)


@pytest.mark.parametrize('kind', ['FeatureMap', 'ModuleOutputs'])
@pytest.mark.parametrize('all_are', [False, True])
def test_connectors_of_networks_in_mixed_precision(kind, all_are):
    """They get what they have weights for, or what autocast casts."""
    recorder = dict(type=kind, source='body')
    distiller = build(
        dict(
            type='ConfigurableDistiller',
            student_recorders=dict(f=recorder),
            teacher_recorders=dict(f=recorder),
            connectors=dict(
                align=dict(type='AlignConnector', in_channel=4, out_channel=4)
            ),
            distill_losses=dict(loss=dict(type='L2Loss')),
            loss_forward_mappings=dict(
                loss=dict(
                    s_feature=dict(
                        from_student=True, recorder='f', connector='align'
                    ),
                    t_feature=dict(from_student=False, recorder='f'),
                )
            ),
        )
    )
    seen = []
    distiller.connectors['align'].register_forward_pre_hook(
        lambda _, args: seen.append(args[0].dtype)
    )
    student, teacher = Mixed(), Mixed()
    images = torch.randn(2, 1, 8, 8)
    mixed = torch.autocast('cpu', torch.bfloat16) if all_are else nullcontext()
    with attached(distiller, student, teacher), mixed:
        with distiller.student_recorders, distiller.teacher_recorders:
            student(images)
            teacher(images)
        mappings = distiller.loss_forward_mappings
        distill_losses(distiller, mappings)['loss'].backward()
    assert seen == [torch.bfloat16 if all_are else torch.float32]
    assert student.body.weight.grad.any()

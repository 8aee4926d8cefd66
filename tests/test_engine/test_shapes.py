# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Images of any shape, from ``model.image_shape`` alone."""

import json

import pytest
import torch
from helpers import build, network

from csd_mmrazor.datasets import BankFolder

SYNTHESIS = 'default_hooks.synthesis'


@pytest.fixture
def of_shape(tiny_runner, tmp_path):
    """A run on images of a shape, whose generator is not told of it."""

    def make(shape, **options):
        channels, *_ = shape
        teacher = network(channels, base_channels=8)
        path = tmp_path / 'teacher_of_shape.pth'
        model = build(teacher).train()
        for _ in range(3):
            model(torch.randn(8, *shape), mode='tensor')
        torch.save(model.state_dict(), path)
        return tiny_runner(
            **{
                'model.image_shape': shape,
                'model.architecture': network(channels),
                'model.teachers.teacher.build_cfg': teacher,
                'model.teachers.teacher.ckpt_path': str(path),
                'model.data_preprocessor.mean': [100.0] * channels,
                'model.data_preprocessor.std': [50.0] * channels,
                f'{SYNTHESIS}.synthesizer.generator': dict(
                    _delete_=True,
                    type='CSDGenerator',
                    latent_dim=8,
                    hidden_channels=4,
                ),
                f'{SYNTHESIS}.synthesizer.batch_size': 4,
                'train_dataloader.batch_size': 4,
                'train_dataloader.sampler.num_samples': 8,
                'train_cfg.max_epochs': 1,
                **dict.fromkeys(
                    ('val_dataloader', 'val_cfg', 'val_evaluator')
                ),
                **options,
            },
        )

    return make


@pytest.mark.parametrize(
    'shape, task',
    [
        ((1, 28, 28), 'RotationTask'),
        ((3, 32, 64), 'ChannelPermutationTask'),
        ((1, 45, 27), 'HalfShiftTask'),
    ],
)
def test_of_any_shape(of_shape, tmp_path, shape, task):
    runner = of_shape(shape, **{'model.aux_head.task.type': task})
    runner.train()
    assert BankFolder(tmp_path / 'run/bank').image_shape == shape
    told = json.loads((tmp_path / 'run/student/student.json').read_text())
    assert tuple(told['image_shape']) == shape


def test_the_feature_maps_are_switched_off(tiny_runner):
    runner = tiny_runner(
        **{
            'model.distiller.student_recorders.feature': None,
            'train_cfg.max_epochs': 1,
        }
    )
    runner.train()
    assert [*runner.model.distiller.distill_losses] == ['loss_kd']
    assert not [*runner.model.distiller.parameters()]

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
from helpers import build

from csd_mmrazor.models.algorithms import csd_distillation

SMOOTH = dict(type='LabelSmoothLoss', label_smooth_val=0.5, mode='original')
MIXUP = dict(augments=[dict(type='Mixup', alpha=0.8)])
OTHER = dict(type='ClsDataPreprocessor', mean=[100.0], std=[3.0])
ALIKE = dict(type='ClsDataPreprocessor', mean=[127.5], std=[127.5])


@pytest.fixture
def told(tiny_config, monkeypatch):
    """What is said of a student with such settings, when a run starts."""

    def told(**options):
        said = []
        options = {f'model.{name}': each for name, each in options.items()}
        normalised = dict.fromkeys(
            ('model.data_preprocessor.mean', 'model.data_preprocessor.std'),
            [127.5],
        )
        model = build(tiny_config(**normalised, **options).model)
        monkeypatch.setattr(
            csd_distillation, 'print_log', lambda text, *_: said.append(text)
        )
        model.init_weights()
        return '\n'.join(said)

    return told


@pytest.mark.parametrize(
    'name, value, message',
    [
        ('head.loss', SMOOTH, 'here: head.loss, LabelSmoothLoss'),
        ('train_cfg', MIXUP, 'here: train_cfg.augments, Mixup'),
        ('data_preprocessor', OTHER, 'here: mean and std of data_prep'),
    ],
)
def test_settings_without_effect_are_told(told, name, value, message):
    assert message in told(**{f'architecture.{name}': value})


def test_others_are_not(told):
    assert not told()
    assert not told(
        **{
            'architecture.data_preprocessor': ALIKE,
            'architecture.head.loss': dict(
                type='CrossEntropyLoss', loss_weight=1.0
            ),
        }
    )
    # Whoever has a loss of their own need not be told.
    smooth = dict(SMOOTH, type='mmpretrain.LabelSmoothLoss')
    for loss in (None, smooth, dict(smooth, loss_weight=0.5)):
        assert not told(
            **{'student_loss': loss, 'architecture.head.loss': SMOOTH}
        )

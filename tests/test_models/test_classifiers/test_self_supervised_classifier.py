# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn.functional as F
from helpers import build, network
from mmpretrain.structures import DataSample


def classifier(**kwargs):
    cfg = network()
    cfg.update(
        type='mmrazor.SelfSupervisedClassifier',
        aux_head=dict(
            type='mmrazor.SelfSupervisedAuxHead',
            num_classes=10,
            in_channels=8,
            task=dict(type='mmrazor.RotationTask'),
        ),
    )
    return build(dict(cfg, **kwargs))


def test_losses_of_both_tasks():
    model = classifier(aux_weight=0.5).eval()
    inputs = torch.randn(3, 1, 8, 8)
    labels = torch.tensor([1, 0, 7])
    samples = [DataSample().set_gt_label(label) for label in labels]
    losses = model(inputs, samples, mode='loss')
    assert set(losses) == {'loss', 'loss_aux'}
    logits = model(inputs, mode='tensor')
    assert losses['loss'].item() == pytest.approx(
        F.cross_entropy(logits, labels).item(), rel=1e-5
    )
    total = 0
    for image, label in zip(inputs, labels):
        for turns in range(4):
            feature = model.backbone(image.rot90(turns, (1, 2))[None])[-1]
            aux = model.aux_head(feature.mean((2, 3)))
            total += F.cross_entropy(aux, (4 * label + turns)[None])
    assert losses['loss_aux'].item() == pytest.approx(
        0.5 * total.item() / 12, rel=1e-4
    )
    losses['loss_aux'].backward()
    # Other than in CSD, the task trains the backbone, too.
    assert next(model.backbone.parameters()).grad.any()


def test_bad_weight():
    with pytest.raises(ValueError, match='aux_weight .* above 0, but got 0'):
        classifier(aux_weight=0)

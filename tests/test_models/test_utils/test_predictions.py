# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from graphs import needs_gpu
from mmpretrain.evaluation import Accuracy
from mmpretrain.structures import DataSample

from csd_mmrazor.models.utils import bring_to_host


def predictions(device='cpu'):
    scores = torch.rand(6, 3, device=device)
    labels = torch.tensor([0, 1, 2, 0, 1, 2], device=device)
    return [
        DataSample(metainfo=dict(img_path=f'{number}.png'))
        .set_gt_label(label)
        .set_pred_score(score)
        .set_pred_label(score.argmax())
        for number, (score, label) in enumerate(zip(scores, labels))
    ]


def accuracy(samples):
    metric = Accuracy()
    metric.process({}, [sample.to_dict() for sample in samples])
    return metric.evaluate(len(samples))


def test_each_kind_is_copied_at_once():
    torch.manual_seed(0)
    samples = predictions()
    before = [sample.clone() for sample in samples]
    bring_to_host(samples)
    for name in ('pred_score', 'pred_label', 'gt_label'):
        values = [sample.get(name) for sample in samples]
        memory = {value.untyped_storage().data_ptr() for value in values}
        assert len(memory) == 1
        for value, old in zip(values, before):
            assert torch.equal(value, old.get(name))
    assert [s.img_path for s in samples] == [s.img_path for s in before]
    assert accuracy(samples) == accuracy(before)


@pytest.mark.parametrize(
    'samples',
    [
        [],
        [torch.zeros(2)] * 2,
        torch.ones(2, 3),
        dict(logits=torch.ones(2, 3)),
        [DataSample().set_gt_label([0, 1]), DataSample().set_gt_label(1)],
        [DataSample().set_gt_label(0), DataSample()],
    ],
)
def test_what_differs_stays_as_it_is(samples):
    before = str(samples)
    bring_to_host(samples)
    assert str(samples) == before


@needs_gpu
def test_metrics_do_not_wait_on_a_gpu():
    samples = predictions('cuda')
    bring_to_host(samples)
    torch.cuda.set_sync_debug_mode('error')
    try:
        accuracy(samples)
    finally:
        torch.cuda.set_sync_debug_mode(0)

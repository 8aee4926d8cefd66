# Copyright (c) csd_mmrazor developers. All rights reserved.
import math
from collections import defaultdict
from itertools import combinations

import pytest
import torch
import torch.nn as nn
from torch.nn.functional import cosine_similarity

from csd_mmrazor.models import Networks, SelfSupervisedAuxHead
from csd_mmrazor.models.synthesizers.metrics import (
    class_balance,
    diversity,
    diversity_metrics,
    recognition_metrics,
)


def test_class_balance_in_closed_form():
    assert class_balance(torch.tensor([0, 1, 2, 3]), 4) == pytest.approx(1)
    assert class_balance(torch.tensor([2, 2, 2]), 4) == 0
    assert class_balance(torch.tensor([0, 0, 3, 3]), 4) == pytest.approx(0.5)
    expected = (0.75 * math.log(4 / 3) + 0.25 * math.log(4)) / math.log(3)
    labels = torch.tensor([1, 1, 1, 0])
    assert class_balance(labels, 3) == pytest.approx(expected)


def test_diversity_pair_by_pair():
    vectors, labels = torch.randn(30, 5), torch.randint(4, (30,))
    distances = [
        1 - cosine_similarity(vectors[a], vectors[b], dim=0).item()
        for a, b in combinations(range(30), 2)
        if labels[a] == labels[b]
    ]
    expected = sum(distances) / len(distances)
    assert diversity(vectors, labels) == pytest.approx(expected, abs=1e-6)


def test_diversity_at_its_ends():
    labels = torch.tensor([0, 0, 1])
    alike = torch.tensor([[1.0, 2.0], [2.0, 4.0], [9.0, 1.0]])
    assert diversity(alike, labels) == pytest.approx(0)
    opposite = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [9.0, 1.0]])
    assert diversity(opposite, labels) == pytest.approx(2)
    assert diversity(alike, torch.tensor([0, 1, 2])) == 0


class Corner(nn.Module):
    """Says which corner of an image of 2x2 pixels is the brightest."""

    def __init__(self, classes=4):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.classes = classes

    def extract_feat(self, inputs, stage):
        return inputs.flatten(1) * self.scale

    def forward(self, inputs, mode):
        return self.extract_feat(inputs, mode)[:, : self.classes]


@pytest.fixture
def networks(scope):
    head = SelfSupervisedAuxHead(num_classes=4, in_channels=4)
    return Networks(
        teachers=Corner(),
        student=nn.Sequential(),
        aux_head=head,
        normalize=lambda images: images.float() / 255,
    )


def corners(places):
    images = torch.zeros(len(places), 4, dtype=torch.uint8)
    images[range(len(places)), places] = 255
    return images.view(-1, 1, 2, 2)


def test_recognition_by_hand(networks):
    class Blind(Corner):
        def extract_feat(self, inputs, stage):
            return super().extract_feat(inputs, stage).roll(1, 1)

    networks = networks._replace(student=Blind())
    images, labels = corners([0, 1, 2, 3, 3]), torch.tensor([0, 1, 2, 3, 0])
    found = recognition_metrics(networks, images, labels)
    assert found['teacher_top1'] == pytest.approx(80)
    # It sees the next corner: right in the one label that is off by one.
    assert found['student_top1'] == pytest.approx(20)
    losses, right = [], []
    for image, label in zip(images, labels):
        for turns in range(4):
            view = torch.rot90(image / 255, turns, (1, 2))
            features = view.flatten().roll(1)[None]
            logits = networks.aux_head(features)[0].double()
            joint = 4 * label + turns
            losses.append(logits.logsumexp(0) - logits[joint])
            right.append(logits.argmax() == joint)
    expected = (sum(losses) / len(losses)).item()
    assert found['aux_loss'] == pytest.approx(expected, abs=1e-6)
    assert found['aux_top1'] == 100 * sum(right).item() / len(right)
    without = recognition_metrics(
        networks._replace(aux_head=None), images, labels
    )
    assert set(without) == {'teacher_top1', 'student_top1'}


def test_no_pass_takes_more_than_fits(networks):
    sizes = defaultdict(list)

    class Noting(Corner):
        def extract_feat(self, inputs, stage):
            sizes[self.scale.item()].append(len(inputs))
            return super().extract_feat(inputs, stage)

    networks = networks._replace(teachers=Noting(), student=Noting())
    networks.student.scale.data.fill_(2)
    images, labels = corners([0, 1, 2] * 6), torch.tensor([0, 1, 1] * 6)
    found = recognition_metrics(networks, images, labels, 8)
    assert sizes[1] == [8, 8, 2]
    # 4 views of 2 images, and of one where there are no more than 2.
    assert sizes[2] == [8] * 5 + [8] * 5 + [2, 4, 4]
    whole = recognition_metrics(networks, images, labels)
    assert found.pop('aux_loss') == pytest.approx(whole.pop('aux_loss'))
    assert found == whole


def test_diversity_by_hand(networks):
    # More than one pass, the classes that the teacher sees are 0 and 1.
    images = corners([0, 1] * 200)
    found = diversity_metrics(networks, images, torch.zeros(400).long(), 4)
    assert found['bank_balance'] == pytest.approx(0.5)
    # Unit vectors at right angles: 200 * 200 of 400 * 399 / 2 pairs.
    assert found['bank_diversity'] == pytest.approx(200 / 399)


def test_networks_are_left_as_they_were(networks):
    networks = networks._replace(student=Corner())
    networks.student.train()
    recognition_metrics(networks, corners([0, 1]), torch.tensor([0, 1]))
    assert networks.student.training and networks.teachers.training
    assert networks.student.scale.grad is None

# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from helpers import build, network

from csd_mmrazor.models.utils import count_classes, same_classes


def test_classes_of_a_classifier():
    model = build(network(num_classes=7)).eval()
    images = torch.zeros(2, 1, 8, 8)
    assert count_classes(model, images, 'student', 'images') == 7
    with pytest.raises(ValueError, match='student .Image.*take pictures: Run'):
        count_classes(model, images.repeat(1, 3, 1, 1), 'student', 'pictures')


def test_no_logits_are_told_with_the_name_of_the_network():
    class Strange(torch.nn.Module):
        def forward(self, inputs, mode):
            return inputs

    with pytest.raises(ValueError, match='teacher "t" .Strange.: .* logits'):
        count_classes(Strange(), torch.zeros(2, 1, 8, 8), 'teacher "t"', '')


def test_numbers_of_classes_that_differ():
    assert same_classes(dict(a=10, b=10)) == 10
    with pytest.raises(ValueError, match="same number .* {'a': 10, 'b': 7}"):
        same_classes(dict(a=10, b=7))

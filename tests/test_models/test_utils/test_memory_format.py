# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Formats of networks, and gradients on CPUs that have AVX2 alone."""

import os
import sys
from copy import deepcopy

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from helpers import ROOT, build, network

from csd_mmrazor.models.utils import (
    as_map,
    contiguous,
    keep_contiguous,
    memory_format,
    needs_contiguous,
    set_memory_format,
)

CPU, GPU = torch.device('cpu'), torch.device('cuda')
# What makes a CPU with AVX-512 run the kernels of one without.
AVX2 = dict(ONEDNN_MAX_CPU_ISA='AVX2', ATEN_CPU_CAPABILITY='avx2')


class Functional(nn.Module):
    """A convolution that is no layer of torch's."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4, 1, 1))

    def forward(self, maps):
        return F.conv2d(maps, self.weight, None, 2)


def channels_last(*shape):
    return torch.randn(shape).to(memory_format=torch.channels_last)


UNSAFE = {
    'narrow': (nn.Conv2d(4, 8, 1, 2), channels_last(16, 4, 8, 8)),
    'one channel': (nn.Conv2d(1, 8, 1, 2), channels_last(16, 1, 8, 8)),
    'seven': (nn.Conv2d(7, 8, 1, 3), channels_last(16, 7, 8, 8)),
    'one way': (nn.Conv2d(4, 8, 1, (1, 2)), channels_last(16, 4, 8, 8)),
    'grouped': (nn.Conv2d(16, 8, 1, 2, groups=4), channels_last(16, 16, 8, 8)),
    'depthwise': (
        nn.Conv2d(16, 16, 1, 2, groups=16),
        channels_last(16, 16, 8, 8),
    ),
    'transposed': (
        nn.ConvTranspose2d(4, 8, 1, 2),
        channels_last(16, 4, 8, 8),
    ),
    'double': (
        nn.Conv2d(4, 8, 1, 2).double(),
        channels_last(16, 4, 8, 8).double(),
    ),
    'tokens in a row': (
        nn.Conv1d(4, 8, 1, 2),
        torch.randn(16, 64, 4).transpose(1, 2),
    ),
    'tokens in a map': (
        nn.Conv2d(4, 8, 1, 2),
        as_map(torch.randn(16, 64, 4)),
    ),
    'parametrised': (
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 8, 1, 2)),
        channels_last(16, 4, 8, 8),
    ),
    'functional': (Functional(), channels_last(16, 4, 8, 8)),
}
SAFE = {
    'eight channels': nn.Conv2d(8, 8, 1, 2),
    'no stride': nn.Conv2d(4, 8, 1),
    '3x3': nn.Conv2d(3, 8, 3, 2),
    'no convolution': nn.BatchNorm2d(4),
    'volumes': nn.Conv3d(3, 8, 3),
}


@pytest.mark.parametrize('name', UNSAFE)
def test_unsafe_layers_stay_contiguous(name):
    layer, inputs = deepcopy(UNSAFE[name][0]), UNSAFE[name][1]
    model = nn.Sequential(nn.Conv2d(3, 5, 3), layer)
    assert memory_format(model, CPU) == torch.contiguous_format
    assert memory_format(model, GPU) == torch.channels_last
    reference = deepcopy(layer).double()

    model.to(memory_format=torch.channels_last)
    set_memory_format(model)
    set_memory_format(model)
    for weight in model.parameters():
        assert weight.stride() == torch.empty(weight.shape).stride()
    assert len(layer._forward_pre_hooks) == 1
    seen = []
    layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    layer(inputs).square().sum().backward()
    assert seen[0].stride() == torch.empty(inputs.shape).stride()
    reference(contiguous(inputs.double())).square().sum().backward()
    pairs = zip(layer.parameters(), reference.parameters())
    for weight, other in pairs:
        # Sums of thousands of terms, some of which nearly cancel out. Wrong
        # kernels are wrong by as much as the largest.
        largest = max(1.0, other.grad.abs().max().item())
        torch.testing.assert_close(
            weight.grad.double(), other.grad, rtol=1e-4, atol=1e-3 * largest
        )


@pytest.mark.parametrize('name', SAFE)
def test_all_else_is_channels_last(name):
    layer = deepcopy(SAFE[name])
    assert memory_format(layer, CPU) == torch.channels_last
    set_memory_format(layer, None, nn.Identity())
    assert not layer._forward_pre_hooks
    if layer.weight.ndim == 4:
        assert layer.weight.stride()[1] == 1


def test_one_channel_is_made_contiguous():
    maps = channels_last(16, 1, 8, 8)
    assert maps.stride() == (64, 1, 8, 1)
    assert contiguous(maps).stride() == (64, 64, 8, 1)


@pytest.mark.parametrize('channels', [4, 8])
def test_each_network_of_an_algorithm_for_itself(tiny_config, channels):
    """The student, the teacher of 8 channels, and both after a cast."""
    architecture = network(base_channels=channels)
    model = build(tiny_config(**{'model.architecture': architecture}).model)
    for each in (model, model.double(), deepcopy(model).float()):
        weights = [
            next(p for p in net.parameters() if p.ndim == 4 and p.shape[1] > 1)
            for net in (each.student, each.teachers['teacher'])
        ]
        last = [
            w.is_contiguous(memory_format=torch.channels_last) for w in weights
        ]
        assert last == [channels == 8, True]


def test_generated_images_are_contiguous(scope):
    for channels in (1, 3):
        generator = build(
            dict(type='CSDGenerator', img_size=8, channels=channels)
        )
        set_memory_format(generator)
        images = generator(batch_size=4)
        assert images.stride() == torch.empty(images.shape).stride()


@pytest.mark.skipif(
    os.environ.get('ONEDNN_MAX_CPU_ISA') == 'AVX2', reason='is what runs'
)
def test_right_with_avx2_alone(run):
    """Gradients, and steps of the student against a plain loop."""
    steps = 'test_models/test_algorithms/test_csd_distillation.py'
    done = run(
        *('env', '-C', ROOT, sys.executable),
        *('-m', 'pytest', '-q', '-p', 'no:cacheprovider'),
        __file__,
        f'{ROOT}/tests/{steps}::test_steps_equal_a_plain_loop',
        **AVX2,
    )
    assert ' passed' in done.stdout


class Flattened(nn.Module):
    """As in many a tutorial."""

    def __init__(self, flatten):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU())
        self.head, self.flatten = nn.Linear(6 * 9, 5), flatten

    def forward(self, images):
        return self.head(self.flatten(self.maps(images)))


def viewed(maps):
    return maps.view(maps.size(0), -1)


class GlobalFilter(nn.Module):
    """Weights that are no convolution's, seen as numbers of another kind."""

    def __init__(self, seen_as):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(8, 5, 3, 2))
        self.seen_as = seen_as

    def forward(self, images):
        return self.seen_as(images, self.filter)


def filtered(images, weight):
    found = torch.fft.rfft2(images.permute(0, 2, 3, 1), dim=(1, 2))
    found = found * torch.view_as_complex(weight)
    return torch.fft.irfft2(found, s=(8, 8), dim=(1, 2))


def of_other_dtype(images, weight):
    return images.sum() + weight.view(torch.float64).sum()


@pytest.mark.parametrize('seen_as', [filtered, of_other_dtype])
def test_weights_that_are_seen_as_other_numbers(seen_as):
    model, images = GlobalFilter(seen_as), torch.randn(2, 3, 8, 8)
    expected = model(images)
    assert needs_contiguous(lambda: model(images), model)
    keep_contiguous(model)
    set_memory_format(model)
    torch.testing.assert_close(model(images), expected)


def test_pairs_of_maps_that_are_seen_as_complex():
    pairs = torch.randn(2, 3, 8, 2).transpose(1, 2)
    odd = torch.randn(4, 6)[:, :2].as_strided((2, 2, 2), (3, 2, 1))
    assert not needs_contiguous(lambda: torch.view_as_complex(pairs))
    assert needs_contiguous(lambda: torch.view_as_complex(odd))


def test_who_needs_contiguous_maps():
    images = channels_last(2, 3, 8, 8)

    def call(*layers):
        model = nn.Sequential(*layers)
        return needs_contiguous(lambda: model(images), model)

    def named():
        try:
            viewed(images)
        except RuntimeError as error:
            raise ValueError('no such loss') from error

    assert call(Flattened(viewed)) and needs_contiguous(named)
    assert not call(Flattened(lambda maps: maps.flatten(1)))
    assert not call(nn.Linear(3, 3))  # another error


@pytest.mark.parametrize('of_a_part', [False, True])
def test_a_network_that_is_kept_contiguous(of_a_part):
    """Whichever of its parts is called, on any device, for good."""
    model = nn.Sequential(Flattened(viewed))
    plain = deepcopy(model)
    set_memory_format(model)
    images = channels_last(4, 3, 8, 8)
    for _ in range(2):
        keep_contiguous(model)
        set_memory_format(model)
    assert memory_format(model, GPU) == torch.contiguous_format
    assert model[0].maps[0].weight.is_contiguous()
    assert len(model[0].maps[0]._forward_pre_hooks) == 1
    found = (model[0] if of_a_part else model)(images)
    found.square().sum().backward()
    plain(contiguous(images)).square().sum().backward()
    for one, other in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(one.grad, other.grad)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Rounds of related methods against those of their authors' code.

The figures were computed outside, by the code that each test names, in
float64 with the same networks of a few weights, which formulas give, and the
same draws. Augmentations are left out, but for DeepInversion's.
"""

import math

import pytest
import torch
import torch.nn as nn
from helpers import ROOT, build, network
from mmengine.config import Config

from csd_mmrazor.models import Networks
from csd_mmrazor.models.synthesizers import (
    image_synthesizer,
    lasting_generator,
    meta_generator,
)

MEAN, STD = (0.48, 0.46, 0.41), (0.23, 0.22, 0.22)
PIXELS = {
    'generator.mean': [255 * v for v in MEAN],
    'generator.std': [255 * v for v in STD],
}


def noise(*shape, shift=0.0):
    """Numbers in -1..1 without a pattern, from integer arithmetic."""
    mixed = torch.arange(math.prod(shape)) + round(shift * 1000) + 1
    mixed = mixed * 2654435761 % 2**32
    mixed = (mixed ^ (mixed >> 15)) * 2246822519 % 2**32
    mixed = mixed ^ (mixed >> 13)
    return (mixed.double() / 2**31 - 1).view(shape)


def fill(module, shift=0.0):
    """Give a module the weights and statistics that the formula makes."""
    layers = [m for m in module.modules() if [*m.parameters(recurse=False)]]
    for number, layer in enumerate(layers):
        s = shift + number
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            scale = math.sqrt(3 / layer.weight[0].numel())
            layer.weight.data = noise(*layer.weight.shape, shift=s) * scale
            if layer.bias is not None:
                layer.bias.data = noise(*layer.bias.shape, shift=s + 0.5) / 10
        elif isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            size = layer.num_features
            layer.weight.data = 1 + noise(size, shift=s) / 10
            layer.bias.data = noise(size, shift=s + 0.5) / 10
            layer.running_mean.copy_(noise(size, shift=s + 1) / 10)
            layer.running_var.copy_(1 + noise(size, shift=s + 2) / 2)


def digest(tensors):
    """Two numbers of tensors: the sum of squares and a weighted sum."""
    flat = torch.cat([each.detach().double().flatten() for each in tensors])
    weights = noise(len(flat), shift=1.0)
    return [flat.square().sum().item(), (flat * weights).sum().item()]


def same(found, expected):
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.fixture
def networks():
    nets = []
    for base, shift in ((6, 0.1), (4, 0.2)):
        net = build(network(3, base)).double()
        fill(net, shift)
        nets.append(net.eval())
    mean, std = (torch.tensor(v).double().view(3, 1, 1) for v in (MEAN, STD))

    def normalize(images):
        scale = 255 if images.dtype == torch.uint8 else 1
        return (images / scale - mean) / std

    teachers = nn.ModuleDict(dict(teacher=nets[0]))
    return Networks(teachers, nets[1], None, normalize)


@pytest.fixture
def draws(monkeypatch):
    """The same draws as outside: latents by formula, classes in turn."""
    torch.set_default_dtype(torch.float64)
    number = [0]

    def randn(*shape, device=None):
        number[0] += 1
        return 1.5 * noise(*shape, shift=10 * number[0])

    def randint(high, shape, device=None):
        if shape == (2,):  # DeepInversion's jitter, by 1 and -1
            return torch.tensor([high // 2 + 1, high // 2 - 1])
        if not shape:  # the first of the classes that are asked for
            return torch.tensor(0)
        return torch.arange(shape[0]) % high

    monkeypatch.setattr(torch, 'randn', randn)
    monkeypatch.setattr(torch, 'randint', randint)
    for module in (image_synthesizer, lasting_generator, meta_generator):
        monkeypatch.setattr(
            module, 'reset_weights', lambda m, _=None: fill(m, 0.3)
        )
    yield
    torch.set_default_dtype(torch.float32)


def synthesizer(config, **changes):
    """The synthesizer of a config, for images of 8x8."""
    path = ROOT / f'configs/baselines/{config}_wrn40-2_wrn16-1_cifar10.py'
    cfg = Config.fromfile(path)
    options = {'batch_size': 12, 'augment': None}
    cut = cfg.default_hooks.synthesis.synthesizer
    inner = 'generator.'
    if cut.generator.type == 'NoisyLayerGenerator':
        inner = 'generator.generator.'
    elif cut.generator.type == 'CSDGenerator':
        options['generator.latent_dim'] = 6
    options[f'{inner}img_size'] = 8
    if cut.generator.type != 'PixelGenerator':
        options[f'{inner}hidden_channels'] = 4
    options.update(changes)
    prefix = 'default_hooks.synthesis.synthesizer.'
    cfg.merge_from_dict({prefix + k: v for k, v in options.items()})
    return build(cfg.default_hooks.synthesis.synthesizer).double()


def rounds(made, networks, number, before=lambda index: None):
    """Digests of the images of some rounds."""
    made.prepare(networks)
    found = []
    for index in range(number):
        before(index)
        batch = made.synthesize(networks, 10)
        found.append(digest([batch.images]))
    return found


def test_dfq(networks, draws):
    """Github zju-vipa/CMI, datafree/synthesis/generative.py: 3 steps."""
    made = synthesizer(
        'dfq', **{'generator.first_channels': 16, 'num_images': 24}
    )
    images = rounds(made, networks, 3)
    weights = made.meta.weights
    same(
        digest(weights.parameters()), [111.93570596492697, -2.207852974378539]
    )
    statistics = [b for b in weights.buffers() if b.is_floating_point()]
    same(digest(statistics), [25.99299472916706, -0.29762740589412084])
    moments = made.moments['generator']
    averages = [
        1e3 * moments[f'{index}.exp_avg']
        for index, _ in enumerate(weights.parameters())
    ]
    same(digest(averages), [32502533.45391722, 6059.591127535762])
    same(images[0], [75528140.0, -5437.576328394003])
    same(images[1], [76416488.0, -6105.300158898812])
    same(images[2], [73034919.0, -5457.896729894448])


def test_cmi(networks, draws, monkeypatch):
    """Github zju-vipa/CMI, datafree/synthesis/contrastive.py: 2 rounds."""
    made = synthesizer(
        'cmi',
        **{
            'iters': 3,
            'losses.loss_cr.embed_dim': 5,
            'losses.loss_cr.memory_size': 4,
        },
    )
    number = [0]

    def randperm(length, device=None):
        """Other images in each step."""
        number[0] += 1
        return (torch.arange(length) + number[0]) % length

    monkeypatch.setattr(torch, 'randperm', randperm)
    made.view_augment = nn.Module()
    made.view_augment.forward = lambda images: images.flip(-1)

    def before(index):
        head = made.losses['loss_cr'].head
        if not index:
            fill(head, 0.4)
        made.memory.__init__(48)
        width = head[0].in_features
        views, features = (noise(12, width, shift=s) for s in (2, 3))
        made.memory.add(torch.cat([features, views], 1))

    images = rounds(made, networks, 2, before)
    head = made.losses['loss_cr'].head
    same(
        digest(made.generator.parameters()),
        [69.3840529642325, -9.619912448366208],
    )
    same(digest(head.parameters()), [96.57467417932628, 4.370820523714716])
    averages = [
        1e3 * made.moments['loss_cr'][f'{index}.exp_avg'] for index in range(4)
    ]
    same(digest(averages), [64167051.237156466, -2893.302599794619])
    same(images[0], [37928110.0, -6574.555162474513])
    same(images[1], [37456173.0, -5551.811519973911])


def test_deepinversion(networks, draws):
    """Github NVlabs/DeepInversion, cifar10: 4 steps."""
    made = synthesizer(
        'deepinversion',
        **PIXELS,
        iters=4,
        batch_size=256,
        augment=dict(type='RandomRoll', shift=2),
    )
    (images,) = rounds(made, networks, 1)
    same(images, [789504670.0, -2406.0664482302964])
    assert not made.generator.clip  # no pixel of these few steps is outside


def test_deepinversion_by_fang(networks, draws, monkeypatch):
    """Github zju-vipa/CMI, datafree/synthesis/deepinversion.py: 4 steps."""
    made = synthesizer(
        'deepinversion-1k',
        **PIXELS,
        iters=4,
        augment=dict(type='RandomRoll', shift=1, flip_prob=1.0),
    )
    (images,) = rounds(made, networks, 1)
    same(images, [38258801.0, -4074.7954795276746])
    assert made.generator.clip


def test_pixels_are_clipped_after_each_step_or_never(
    networks, draws, monkeypatch
):
    """With steps so large that they leave 0..255."""
    monkeypatch.setattr(torch, 'randn', lambda *s, device=None: noise(*s))
    found = [
        rounds(
            synthesizer(
                'deepinversion-1k',
                **{**PIXELS, 'iters': 4, 'optimizer.lr': 2.0},
                **{'generator.clip': clip},
            ),
            networks,
            1,
        )
        for clip in (True, False, True)
    ]
    assert found[0] == found[2] != found[1]


def test_fast(networks, draws, monkeypatch):
    """Github zju-vipa/Fast-Datafree, datafree/synthesis/fast_meta.py.

    A round without and three with the student, the last after the reset of
    the first layer.
    """
    made = synthesizer(
        'fast10',
        **{'iters': 3, 'meta.optimizer.lr': 6e-3, 'meta.reset_round': 4},
    )
    monkeypatch.setattr(
        nn.init,
        'normal_',
        lambda tensor, mean, std: tensor.data.copy_(
            mean + std * noise(*tensor.shape, shift=5.0)
        ),
    )
    made.prepare(networks)
    images = [
        digest([made.synthesize(networks, 10, with_student=index > 0).images])
        for index in range(4)
    ]
    weights = list(made.meta.weights.parameters())
    same(digest(weights), [26.984166166035962, -3.915596724102678])
    state = made.meta.state()
    averages = [
        1e3 * state[f'optimizer.{index}.exp_avg']
        for index, _ in enumerate(weights)
    ]
    same(digest(averages), [2951548425.659331, -30653.4959024872])
    same(images[0], [38362201.0, -6562.316364500672])
    same(images[1], [38092147.0, -5962.331799128093])
    same(images[2], [38864375.0, -6628.842568964697])
    same(images[3], [40921533.0, -6977.345694685355])


def test_nayer(networks, draws, monkeypatch):
    """Github tmtuan1307/NAYER, datafree/synthesis/nayer.py.

    2 epochs of 2 rounds without the student and 5 of one with it; the
    generator lives for 2 epochs.
    """
    made = synthesizer(
        'nayer-random-embeddings',
        **{
            'iters': 3,
            'batch_size': 20,
            'generator.num_layers': 2,
            'generator.embed_dim': 7,
            'generator.noise_dim': 6,
            'meta.life': 2,
            'meta.initial_life': 4,
        },
    )
    generator = made.generator
    monkeypatch.setattr(
        generator, 'renew', lambda: fill(generator.noisy_layers, 0.6)
    )
    generator.embeddings = noise(10, 7, shift=4.0)
    made.prepare(networks)
    images = [
        digest([made.synthesize(networks, 10, with_student=index > 3).images])
        for index in range(9)
    ]
    same(
        digest(generator.parameters()), [87.96282733784639, 2.1987619891078776]
    )
    expected = [
        [65513412.0, -9040.794775437564],
        [62918363.0, -8957.453806252219],
        [60315790.0, -8775.110763131175],
        [58250066.0, -8481.124467987102],
        [65029641.0, -9316.851037994493],
        [62597755.0, -8928.243075371254],
        [65013950.0, -9294.684699501377],
        [62702872.0, -8964.942717660218],
        [65012701.0, -9264.785986956209],
    ]
    for found, wanted in zip(images, expected):
        same(found, wanted)

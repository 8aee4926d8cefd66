# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Priors without BN, against plain computations, on three libraries' nets."""

import math

import helpers
import numpy as np
import pytest
import timm
import torch
import torchvision
from helpers import build, network
from mmengine.registry import DefaultScope
from mmrazor.registry import MODELS
from scipy.integrate import quad
from scipy.stats import gaussian_kde
from torch import nn

from csd_mmrazor.models import Networks
from csd_mmrazor.models.losses.token_losses import similarity_entropy
from csd_mmrazor.models.utils import layer_tokens
from csd_mmrazor.models.utils.tokens import as_tokens


def entropy_by_hand(tokens):
    """Of one image, (L, D), as in the paper: a density, and its integral."""
    alike = [
        float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        for i, a in enumerate(tokens)
        for b in tokens[i + 1 :]
    ]
    density = gaussian_kde(alike, 0.05 / np.std(alike, ddof=1))

    def integrand(x):
        value = density(x)[0]
        return -value * math.log(value) if value > 0 else 0.0

    return quad(integrand, -1.2, 1.2, limit=400, epsabs=1e-7)[0]


@pytest.mark.parametrize('length, kind', [(9, 0.0), (16, 1.0), (5, 3.0)])
def test_entropy_of_similarities(length, kind):
    shared = torch.randn(3, 1, 6, dtype=torch.float64)
    tokens = torch.randn(3, length, 6, dtype=torch.float64) + kind * shared
    found = similarity_entropy(tokens)
    expected = [entropy_by_hand(each.numpy()) for each in tokens]
    assert found.tolist() == pytest.approx(expected, abs=2e-3)
    # The size of a token does not count.
    sizes = torch.rand(3, length, 1, dtype=torch.float64) + 0.5
    torch.testing.assert_close(similarity_entropy(tokens * sizes), found)


def test_alike_places_have_least_entropy():
    noise = torch.randn(1, 16, 2)
    alike = torch.ones(1, 16, 2)
    kinds = torch.eye(4).repeat(4, 1)[None] + 0.2 * torch.randn(1, 16, 4)
    entropies = [similarity_entropy(t).item() for t in (alike, kinds, noise)]
    # That of one kernel.
    one = 0.5 * math.log(2 * math.pi * math.e * 0.05**2)
    assert entropies[0] == pytest.approx(one, abs=1e-3)
    assert entropies[0] < min(entropies[1:])


def test_many_tokens_are_thinned_out():
    tokens = torch.randn(2, 100, 5)
    places = [i * 100 // 7 for i in range(7)]
    torch.testing.assert_close(
        similarity_entropy(tokens, 7), similarity_entropy(tokens[:, places])
    )


def test_terms(scope):
    tokens = [torch.randn(4, 9, 6), torch.randn(4, 5, 8) + 1]
    loss = MODELS.build(dict(type='PatchSimilarityLoss', loss_weight=3))
    expected = [
        np.mean([entropy_by_hand(t.double().numpy()) for t in layer])
        for layer in tokens
    ]
    assert loss(tokens).item() == pytest.approx(
        -3 * np.mean(expected), abs=1e-2
    )
    loss = MODELS.build(dict(type='FeatureNormLoss', loss_weight=2))
    expected = [
        np.var(
            [
                math.log(np.mean([math.hypot(*token) for token in image]))
                for image in layer.tolist()
            ]
        )
        for layer in tokens
    ]
    assert loss(tokens).item() == pytest.approx(2 * np.mean(expected), 1e-4)
    with pytest.raises(ValueError, match='most of PatchSimilarityLoss'):
        MODELS.build(dict(type='PatchSimilarityLoss', most=3))


class LayerNorm2d(nn.LayerNorm):
    """Of maps (N, D, H, W), as ConvNeXts have it."""


@pytest.mark.parametrize(
    'layer, given, places',
    [
        (nn.LayerNorm(6), (2, 9, 6), range(9)),
        (nn.LayerNorm(6), (2, 10, 6), range(1, 10)),  # a class token
        (nn.LayerNorm(6), (2, 11, 6), range(2, 11)),  # and a distilled one
        (nn.LayerNorm(6), (2, 12, 6), range(12)),  # no square
        (nn.LayerNorm(6), (2, 3, 4, 6), range(12)),
        (LayerNorm2d(6), (2, 6, 3, 4), range(12)),
        (nn.LayerNorm(6), (2, 6, 6, 6), range(36)),
        (LayerNorm2d(6), (2, 6, 6, 6), range(36)),
        (nn.LayerNorm((6, 3, 4)), (2, 6, 3, 4), range(12)),
        (nn.LayerNorm((6, 6, 6)), (2, 6, 6, 6), range(36)),
        (nn.GroupNorm(2, 6), (2, 6, 3, 4), range(12)),
        (nn.GroupNorm(2, 6), (2, 6, 9), range(9)),
        (nn.LayerNorm(6), (2, 6), range(1)),
    ],
)
def test_one_token_a_place(layer, given, places):
    # Each number says which channel it is of, in tens, and where.
    first = isinstance(layer, (nn.GroupNorm, LayerNorm2d))
    first |= getattr(layer, 'normalized_shape', ()) == given[1:]
    size = math.prod(given[2:] if first else given[1:-1])
    values = torch.arange(size)[:, None] + 1000 * torch.arange(6)
    values = (values.t() if first else values).reshape(given[1:])
    found = as_tokens(layer, values.expand(given).float())
    assert (
        found.tolist()
        == [[[place + 1000.0 * d for d in range(6)] for place in places]]
        * given[0]
    )


def of_mmpretrain(**backbone):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(_scope_='mmpretrain', **backbone))


VIT = dict(embed_dim=16, depth=2, num_heads=2, img_size=16, patch_size=4)
NETWORKS = {
    # What makes it, and tokens and width of its layers.
    'timm ViT': (
        lambda: timm.create_model('vit_tiny_patch16_224', **VIT),
        [(16, 16)] * 5,
    ),
    'timm DeiT': (
        lambda: timm.create_model('deit_tiny_distilled_patch16_224', **VIT),
        [(16, 16)] * 5,
    ),
    'timm ConvNeXt': (
        lambda: timm.create_model(
            'convnext_tiny', depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)
        ),
        [*[(64, 8)] * 3, (16, 16), (16, 16), (4, 24), (4, 24)],
    ),
    'torchvision ViT': (
        lambda: torchvision.models.VisionTransformer(16, 4, 2, 2, 16, 32),
        [(16, 16)] * 5,
    ),
    'torchvision Swin': (
        lambda: torchvision.models.SwinTransformer(
            [2, 2], 8, [1, 1], [2, 2], [4, 4]
        ),
        [(64, 8)] * 3 + [(16, 32)] + [(16, 16)] * 3,
    ),
    'torchvision ConvNeXt': (
        lambda: torchvision.models.ConvNeXt(
            [
                torchvision.models.convnext.CNBlockConfig(8, 16, 1),
                torchvision.models.convnext.CNBlockConfig(16, None, 1),
            ]
        ),
        [(16, 8), (16, 8), (16, 8), (4, 16)],
    ),
    'mmpretrain Swin': (
        lambda: of_mmpretrain(
            type='SwinTransformer',
            arch=dict(embed_dims=8, depths=[1, 1], num_heads=[1, 2]),
            img_size=16,
            patch_size=2,
            window_size=4,
            out_indices=(1,),
        ),
        [(64, 8)] * 3 + [(16, 32)] + [(16, 16)] * 3,
    ),
    'mmpretrain ConvNeXt': (
        lambda: of_mmpretrain(
            type='ConvNeXt',
            arch=dict(depths=[1, 1], channels=[8, 16]),
        ),
        [(16, 8), (16, 8), (16, 8), (4, 16)],
    ),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_tokens_of_libraries(name, scope):
    make, expected = NETWORKS[name]
    net = make()
    net.eval()
    size = 32 if name == 'timm ConvNeXt' else 16
    images = torch.randn(2, 3, size, size, requires_grad=True)
    with layer_tokens(net) as tokens:
        net(images)
    assert [tuple(each.shape[1:]) for each in tokens] == expected
    for kind in ('PatchSimilarityLoss', 'FeatureNormLoss'):
        loss = MODELS.build(dict(type=kind))(tokens)
        (gradient,) = torch.autograd.grad(loss, images, retain_graph=True)
        assert gradient.isfinite().all() and gradient.abs().max() > 0
    before = len(tokens)
    net(images)
    assert len(tokens) == before  # nothing listens any more


class ViT(nn.Module):
    """Of torch's own layers, whose tokens are (L, N, D) by default."""

    def __init__(self, length, batch_first):
        super().__init__()
        self.length, self.batch_first = length, batch_first
        self.embed = nn.Linear(2, 8)
        self.blocks = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(
                8, 2, 16, dropout=0, batch_first=batch_first
            ),
            2,
            enable_nested_tensor=False,
        )
        self.norm = nn.LayerNorm(8)

    def forward(self, images):
        x = self.embed(images.reshape(len(images), self.length, 2))
        x = x if self.batch_first else x.transpose(0, 1)
        x = self.blocks(x)
        return self.norm(x if self.batch_first else x.transpose(0, 1))


@pytest.mark.parametrize('images', [3, 4, 8, 9, 16])
@pytest.mark.parametrize('length', [8, 9, 16, 17])
def test_tokens_of_sequences_that_come_first(images, length):
    """They are those of the same network with images first."""
    first, last = ViT(length, False), ViT(length, True)
    last.load_state_dict(first.state_dict())
    given = torch.randn(images, length * 2, 1, 1)
    found = []
    for net in (first, last):
        with layer_tokens(net) as tokens:
            net(given)
        found.append(tokens)
    assert len(found[0]) == len(found[1]) == 5
    for one, other in zip(*found):
        assert one.shape == (images, 16 if length == 17 else length, 8)
        torch.testing.assert_close(one, other)


def test_tokens_of_windows():
    """As many in each window as there are images, and images still first."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(6)

        def forward(self, images):
            return self.norm(images.reshape(-1, 4, 6))

    net, images = Net(), torch.randn(4, 1, 12, 6)
    with layer_tokens(net) as tokens:
        net(images)
    torch.testing.assert_close(tokens, [images.reshape(12, 4, 6)])


@pytest.mark.parametrize('height, width', [(4, 10), (6, 12), (4, 6)])
def test_no_place_of_other_images_is_a_class_token(height, width):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv2d(3, 6, 2, 2)
            self.norm = nn.LayerNorm(6)

        def forward(self, images):
            return self.norm(self.embed(images).flatten(2).mT)

    net, images = Net(), torch.randn(2, 3, height, width)
    with layer_tokens(net) as tokens:
        net(images)
    places = net.embed(images).flatten(2).mT
    torch.testing.assert_close(tokens, [places])


def synthesizer(**losses):
    losses = dict(loss_oh=dict(type='OneHotLoss'), **losses)
    return helpers.synthesizer(losses=losses, batch_size=4, iters=2)


def networks(teacher):
    teachers = nn.ModuleDict(dict(teacher=build(teacher).eval()))
    student = build(network())
    return Networks(teachers, student, None, lambda images: images)


BN = dict(loss_bn=dict(type='BNStatisticsLoss'))
GROUPS = network(norm_cfg=dict(type='GN', num_groups=1))


@pytest.mark.parametrize(
    'teacher, losses, terms',
    [
        (network(), BN, {'loss_bn'}),
        (GROUPS, BN, {'loss_patch', 'loss_tv'}),
        (
            GROUPS,
            dict(loss_bn=dict(type='MovingBNStatisticsLoss')),
            {'loss_patch', 'loss_tv'},
        ),
        (
            GROUPS,
            dict(BN, loss_tv=dict(type='TotalVariationLoss', loss_weight=1)),
            {'loss_patch', 'loss_tv'},
        ),
        *(
            (
                GROUPS,
                dict(BN, **{off: dict(type=kind, loss_weight=0)}),
                {'loss_patch', 'loss_tv'} - {off},
            )
            for off, kind in (
                ('loss_patch', 'PatchSimilarityLoss'),
                ('loss_tv', 'MeanTotalVariationLoss'),
            )
        ),
        # Turned off, or one's own.
        (GROUPS, dict(loss_bn=dict(BN['loss_bn'], loss_weight=0)), set()),
        (
            GROUPS,
            dict(loss_norm=dict(type='FeatureNormLoss')),
            {'loss_norm'},
        ),
    ],
)
def test_the_prior_is_chosen_by_the_teacher(teacher, losses, terms, caplog):
    parts, given = synthesizer(**losses), networks(teacher)
    for _ in range(2):  # as in a rehearsal and the run
        parts.check(given)
    batch = parts.synthesize(given, 10, seed=0)
    assert {*batch.terms} == {'loss_oh', *terms}
    if 'loss_tv' in {*losses} & terms:
        kind = type(parts.losses['loss_tv']).__name__
        assert kind == 'TotalVariationLoss'


class WithHead(nn.Module):
    """Its only BN layer is in a head that does not run."""

    def __init__(self):
        super().__init__()
        self.net = build(GROUPS)
        self.auxiliary = nn.BatchNorm1d(10)

    def forward(self, inputs, mode='tensor'):
        return self.net(inputs, mode='tensor')


def test_bn_layers_that_do_not_run_are_none():
    given = networks(GROUPS)._replace(teachers=WithHead().eval())
    parts = synthesizer(**BN)
    parts.check(given)
    assert {*parts.losses} == {'loss_oh', 'loss_patch', 'loss_tv'}


class Pooling(nn.Module):
    """Its layer that normalises each image sees one vector of it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.norm = nn.LayerNorm(6)
        self.fc = nn.Linear(6, 10)

    def forward(self, inputs, mode='tensor'):
        return self.fc(self.norm(self.conv(inputs).relu().mean((2, 3))))


def test_layers_behind_the_pooling_give_no_tokens():
    given = networks(GROUPS)
    given.teachers['teacher'] = Pooling().eval()
    parts = synthesizer(**BN)
    parts.check(given)
    assert {*parts.synthesize(given, 10).terms} == {'loss_oh', 'loss_tv'}
    with pytest.raises(ValueError, match='loss_patch .* none before the pool'):
        synthesizer(loss_patch=dict(type='PatchSimilarityLoss')).check(given)


def test_what_cannot_be_had():
    with pytest.raises(ValueError, match='loss_patch .* has neither, or'):
        synthesizer(loss_patch=dict(type='PatchSimilarityLoss')).check(
            networks(network())
        )
    # One that has BN layers beside one that has none.
    given = networks(network())
    given.teachers['other'] = build(GROUPS).eval()
    with pytest.raises(ValueError, match='teacher 1 .* no BN layer'):
        synthesizer(**BN).check(given)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Networks narrowed by shapes against networks that were made narrow."""

import pytest
import torch
from torch import nn

from csd_mmrazor.models.utils import narrow


def shapes_of(network):
    return {k: tuple(v.shape) for k, v in network.state_dict().items()}


def blocks(width, out=8, inner=None):
    """Convolutions, BN and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, out, 1),
        nn.Flatten(),
        nn.Linear(out * 16, inner or 12),
        nn.Linear(inner or 12, 5),
    )


def depthwise(width):
    return nn.Sequential(
        nn.Conv2d(3, width, 1),
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.Conv2d(width, 2 * width, 3, groups=width),
    )


def grouped(inside, width, groups=2):
    return nn.Sequential(
        nn.Conv2d(3, inside, 1), nn.Conv2d(inside, width, 3, groups=groups)
    )


def norms(width, groups=2):
    return nn.Sequential(
        nn.Conv2d(3, width, 1),
        nn.GroupNorm(groups, width),
        nn.PReLU(width),
        nn.InstanceNorm2d(width, affine=True, track_running_stats=True),
        nn.BatchNorm2d(width, affine=False),
        nn.Flatten(2),
        nn.Linear(16, 16),
    )


def layer_norm(width, kind=nn.LayerNorm):
    return nn.Sequential(nn.Flatten(), nn.Linear(48, width), kind(width))


class RmsNorm(nn.Module):
    """As timm's, which is none of torch's."""

    def __init__(self, channels):
        super().__init__()
        self.normalized_shape = (channels,)
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, inputs):
        size = inputs.square().mean(-1, keepdim=True)
        assert self.weight.shape == self.normalized_shape
        return self.weight * inputs / (size + 1e-6).sqrt()


class Mixer(nn.Module):
    """Attention of 8 channels with a hidden layer beside it."""

    def __init__(self, hidden, heads=None, inner=8, fixed=0, as_map=False):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, 2)
        kind = nn.Conv1d if as_map else nn.Linear
        args = (1,) if as_map else ()
        self.qkv, self.out = (
            kind(a, b, *args) for a, b in ((8, 3 * inner), (inner, 8))
        )
        self.hidden, self.back = nn.Linear(8, hidden), nn.Linear(hidden, 8)
        self.as_map, self.fixed = as_map, fixed
        if heads:
            self.heads = heads

    def forward(self, images):
        tokens = self.patches(images).flatten(2)
        heads = self.fixed or self.heads
        if self.as_map:
            q, k, v = self.qkv(tokens).chunk(3, 1)
            q, k, v = (x.unflatten(1, (heads, -1)) for x in (q, k, v))
            found = v @ (k.transpose(-1, -2) @ q).softmax(-2)
            found = self.out(found.flatten(1, 2))
            return self.back(self.hidden(found.transpose(1, 2)).relu())
        tokens = tokens.transpose(1, 2)
        q, k, v = (
            self.qkv(tokens)
            .reshape(*tokens.shape[:2], 3, heads, -1)
            .permute(2, 0, 3, 1, 4)
        )
        found = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        found = self.out(found.transpose(1, 2).flatten(2))
        return self.back(self.hidden(found).relu())


class Shuffle(nn.Module):
    """Channels of two groups, shuffled."""

    def __init__(self, width):
        super().__init__()
        self.first = nn.Conv2d(3, width, 1)
        self.last = nn.Conv2d(width, 8, 1, groups=2)

    def forward(self, images):
        maps = self.first(images)
        mixed = maps.unflatten(1, (2, -1)).transpose(1, 2)
        return self.last(mixed.reshape(maps.shape))


def encoder(hidden):
    layer = nn.TransformerEncoderLayer(
        16, 2, hidden, dropout=0, batch_first=True
    )
    return nn.Sequential(nn.Flatten(2), layer)


@pytest.mark.parametrize(
    'whole, pruned',
    [
        (blocks(16), blocks(16)),
        (blocks(16), blocks(5, 3, 7)),
        (depthwise(8), depthwise(3)),
        # Each group becomes narrower, or there are fewer of them.
        (grouped(8, 8), grouped(4, 6)),
        (grouped(8, 8, 4), grouped(4, 4, 2)),
        # Of these groups, the layer before tells how many there are.
        (grouped(8, 16, 4), grouped(8, 8, 4)),
        (grouped(8, 16, 4), grouped(4, 8, 2)),
        (
            nn.Sequential(*grouped(8, 16, 4), nn.Conv2d(16, 8, 1, groups=4)),
            nn.Sequential(*grouped(8, 8, 4), nn.Conv2d(8, 4, 1, groups=2)),
        ),
        (norms(8), norms(6)),
        (Mixer(32, heads=4), Mixer(12, heads=4)),
        (Shuffle(16), Shuffle(8)),
        (encoder(32), encoder(12)),
        *(
            (layer_norm(8, kind), layer_norm(5, kind))
            # torch's is there from torch 2.4.
            for kind in (
                nn.LayerNorm,
                RmsNorm,
                getattr(nn, 'RMSNorm', RmsNorm),
            )
        ),
    ],
)
@pytest.mark.parametrize('training', [False, True])
def test_as_if_it_was_made_so(whole, pruned, training):
    for value in pruned.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    narrow(whole, shapes_of(pruned))
    whole.load_state_dict(pruned.state_dict())
    images = torch.randn(2, 3, 4, 4)
    whole.train(training), pruned.train(training)
    assert torch.equal(whole(images), pruned(images))
    assert str(whole) == str(pruned)
    (loss := whole(images).sum()).backward()
    assert loss.isfinite() and all(
        p.grad.shape == p.shape for p in whole.parameters()
    )


def test_shared_weights_stay_shared():
    def tied(width):
        first, last = nn.Linear(width, 4), nn.Linear(width, 4)
        last.weight = first.weight
        return nn.ModuleList([first, last])

    found = narrow(tied(6), shapes_of(tied(3)))
    assert found[0].weight is found[1].weight
    assert found[1].in_features == 3


def test_counters_may_be_lacking():
    shapes = shapes_of(blocks(5))
    del shapes['1.num_batches_tracked']
    assert narrow(blocks(16), shapes)[0].out_channels == 5


class Unseen(nn.Module):
    """It takes what no one guesses."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images, more):
        return self.net(images)


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.MultiheadAttention(width, 2)


@pytest.mark.parametrize(
    'whole, shapes, message',
    [
        (blocks(5), shapes_of(blocks(16)), '0.weight .* nowhere wider'),
        (blocks(5), shapes_of(blocks(5)[:5]), '4 weights are in one .* 5.bi'),
        (blocks(5), {}, 'is not the network that was pruned'),
        (
            blocks(5),
            {**shapes_of(blocks(5)), 'more': (1,)},
            '1 weights are in one of the two alone, such as more',
        ),
        (
            blocks(5),
            {**shapes_of(blocks(5)), '0.weight': (5, 3, 1, 1)},
            '0 is a Conv2d whose pruned',
        ),
        (
            blocks(5),
            {**shapes_of(blocks(5)), '0.weight': (0, 3, 3, 3)},
            '0.weight of .* nowhere wider',
        ),
        (
            blocks(5),
            {**shapes_of(blocks(5)), '0.weight': (5, 3)},
            '0.weight of .* is of shape',
        ),
        (norms(8), shapes_of(norms(5, 1)), '1 has 2 groups, .* 5 channels'),
        (
            grouped(8, 8),
            {**shapes_of(grouped(4, 8)), '1.weight': (5, 2, 3, 3)},
            '1 has 2 groups, into which its 5',
        ),
        (
            grouped(9, 9, 3),
            {**shapes_of(grouped(9, 9, 3)), '1.weight': (4, 3, 3, 3)},
            '1 is left with 4 of 9',
        ),
        (
            nn.ConvTranspose2d(4, 4, 2),
            shapes_of(nn.ConvTranspose2d(4, 3, 2)),
            'is a ConvTranspose2d whose pruned',
        ),
        (Attention(8), shapes_of(Attention(4)), 'inner is a Multihead.* head'),
        # Four heads of two channels became two of them, or four of one.
        *(
            (Mixer(16, **heads), shapes_of(Mixer(16, inner=4, **heads)), match)
            for heads, match in (
                (dict(heads=4), 'qkv was narrowed.* heads'),
                (dict(fixed=4), 'qkv was narrowed.* heads'),
                (dict(heads=4, as_map=True), 'qkv was narrowed.* heads'),
            )
        ),
        (
            Unseen(Mixer(16, heads=4)),
            shapes_of(Unseen(Mixer(16, heads=4, inner=4))),
            'net.qkv was narrowed.*heads=4',
        ),
        (
            Unseen(grouped(8, 16, 4)),
            shapes_of(Unseen(grouped(8, 8, 4))),
            'net.1 has either 2 groups left or narrower ones',
        ),
        (
            nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1)),
            {
                **shapes_of(
                    nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 4, 1))
                ),
                '1.weight': (4, 5, 1, 1),
            },
            'takes images of .* but not with these channels',
        ),
    ],
)
def test_what_shapes_do_not_tell(whole, shapes, message):
    with pytest.raises(ValueError, match=message):
        narrow(whole, shapes)

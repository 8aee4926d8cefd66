# Copyright (c) csd_mmrazor developers. All rights reserved.
from itertools import chain

import pytest
import torch
import torch.nn as nn
from helpers import Cached, build
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.parametrize import register_parametrization

from csd_mmrazor.models.utils import (
    evaluating,
    frozen,
    initial_values,
    reset_weights,
)


def test_frozen():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[0].weight.requires_grad_(False)
    model[1].eval()
    inputs = torch.randn(4, 2, requires_grad=True)
    with frozen(model):
        assert not any(m.training for m in model.modules())
        assert not any(p.requires_grad for p in model.parameters())
        model(inputs).sum().backward()
    assert inputs.grad is not None
    assert all(p.grad is None for p in model.parameters())
    assert [m.training for m in model.modules()] == [True, True, False]
    flags = [p.requires_grad for p in model.parameters()]
    assert flags == [False, True, True, True]


def test_layers_keep_no_weights_of_an_earlier_eval_mode():
    """Of steps in train mode, such as those that the auxiliary head sees."""
    net, inputs = nn.Sequential(Cached(3, 3)).train(), torch.randn(2, 3)
    net[0].bias.requires_grad_(False)
    for _ in range(2):
        with evaluating(net), torch.no_grad():
            found = net(inputs)
            assert net[0].kept is not None
        torch.testing.assert_close(found, net(inputs))
        assert net[0].training and net[0].kept is None
        assert not net[0].bias.requires_grad and net[0].weight.requires_grad
        net[0].weight.data.normal_()
    net.eval()(inputs)
    kept = net[0].kept
    with evaluating(net):
        net(inputs)
    assert net[0].kept is kept and not net[0].training


def test_modes_come_back_after_an_error():
    model = nn.Dropout()
    with pytest.raises(KeyError), evaluating(model):
        assert not model.training
        raise KeyError
    assert model.training


class Own(nn.Module):
    """Has weights and buffers that no layer of torch draws."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.randn(3))
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.decoder = nn.Transformer(4, 1, 1, 1, 4).requires_grad_(False)
        self.attention = nn.MultiheadAttention(4, 1)
        self.register_buffer('steps', torch.zeros(()))
        self.register_buffer('memory', torch.ones(2), persistent=False)
        self.lazy = nn.LazyLinear(3)
        self.layer = nn.Linear(4, 3)
        self.normed = spectral_norm(nn.Linear(3, 3))
        self.weighted = weight_norm(nn.Linear(3, 3))
        self.old = torch.nn.utils.spectral_norm(nn.Linear(3, 3))
        self.one_way = nn.Linear(3, 3)
        register_parametrization(self.one_way, 'weight', nn.Tanh())

    def forward(self, latents):
        self.steps += 1
        self.memory *= 2
        maps = self.old(self.weighted(self.normed(self.layer(latents))))
        maps = self.frozen(maps)
        return self.one_way(maps) * self.scale + self.lazy(latents)


@pytest.mark.filterwarnings('ignore:.*spectral_norm.*:FutureWarning')
def test_reset_weights_leaves_nothing_of_former_rounds():
    first, second = Own(), Own()
    initial = initial_values(first)
    for net in (first, second):
        net.train()(torch.randn(5, 4))
    optimizer = torch.optim.SGD(first.parameters(), lr=1.0)
    for _ in range(3):
        first(torch.randn(5, 4)).square().sum().backward()
        optimizer.step()
    for net in (first, second):
        torch.manual_seed(5)
        reset_weights(net, initial)
    found, expected = (
        dict(chain(net.named_parameters(), net.named_buffers()))
        for net in (first, second)
    )
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)
    # What is drawn is drawn again, also where weights are computed.
    for draw in (
        *('layer.weight', 'attention.in_proj_weight'),
        'normed.parametrizations.weight.original',
    ):
        assert not torch.equal(found[draw], initial[draw])
    for kept in (
        *('scale', 'steps', 'memory', 'frozen.weight'),
        *(name for name in found if name.startswith('decoder.')),
    ):
        assert torch.equal(found[kept], initial[kept])
    torch.manual_seed(7)
    plain = nn.Linear(3, 3)
    for layer in (first.normed, first.weighted):
        torch.manual_seed(7)
        reset_weights(layer)
        computed = (
            layer.weight
            if layer is first.weighted
            else layer.parametrizations.weight.original
        )
        torch.testing.assert_close(computed, plain.weight)
        assert torch.equal(layer.bias, plain.bias)


def test_reset_weights():
    generator = build(dict(type='CSDGenerator', img_size=8, latent_dim=4))
    for param in generator.parameters():
        nn.init.constant_(param, 7)
    generator.train()(torch.randn(4, 4))
    reset_weights(generator)
    first = [p.detach().clone() for p in generator.parameters()]
    assert all((p != 7).all() for p in first if p.ndim > 1)
    assert generator.linear.weight.std().item() == pytest.approx(0.02, rel=0.1)
    norm = generator.layers[0]
    assert not norm.running_mean.any() and (norm.running_var == 1).all()
    reset_weights(generator)
    assert not torch.equal(first[0], generator.linear.weight)
    # Without init_cfg, MMRazor's own generators get torch's weights.
    other = build(
        dict(type='DAFLGenerator', img_size=8, latent_dim=4, hidden_channels=8)
    )
    nn.init.constant_(other.linear.weight, 7)
    reset_weights(other)
    assert other.linear.weight.abs().max() <= 0.5  # 1 / sqrt(4)


def test_initial_weights_of_parts():
    """An ``init_cfg`` counts wherever it is, as in MMEngine."""
    inner = dict(
        type='CSDGenerator',
        img_size=8,
        latent_dim=8,
        hidden_channels=64,
        init_cfg=dict(type='Normal', layer='Conv2d', std=3),
    )
    wrapped = dict(inner)
    wrapped.pop('latent_dim')
    outer = dict(num_classes=3, generator=wrapped)
    for cfg in (
        inner,
        dict(type='GeneratorAdapter', to='inputs', generator=inner),
        dict(type='ConditionalGenerator', noise_dim=4, embed_dim=4, **outer),
        dict(type='NoisyLayerGenerator', num_layers=2, noise_dim=8, **outer),
    ):
        found = build(cfg)
        reset_weights(found, initial_values(found))
        for layer in found.modules():
            if isinstance(layer, nn.Conv2d):
                assert 2 < layer.weight.std() < 4, cfg['type']


def test_an_init_cfg_leaves_frozen_weights():
    found = build(
        dict(type='CSDGenerator', img_size=8, latent_dim=8, hidden_channels=8)
    )
    convs, norms = (
        [m for m in found.modules() if isinstance(m, kind)]
        for kind in (nn.Conv2d, nn.BatchNorm2d)
    )
    frozen_weights = [convs[0].weight, norms[1].weight]
    drawn = [convs[1].weight, norms[0].weight]
    for weight in [*frozen_weights, *drawn]:
        nn.init.constant_(weight, 5)
    for weight in frozen_weights:
        weight.requires_grad_(False)
    reset_weights(found, initial_values(found))
    assert all((weight == 5).all() for weight in frozen_weights)
    assert not any((weight == 5).any() for weight in drawn)


def test_files_of_an_init_cfg(tmp_path):
    """They count in the end, as in MMEngine; frozen parts need none."""
    cfg = dict(
        type='CSDGenerator',
        img_size=8,
        latent_dim=8,
        init_cfg=dict(type='Normal', layer='Conv2d', std=3),
    )
    path = str(tmp_path / 'a.pth')
    outer = build(dict(type='GeneratorAdapter', generator=cfg))
    state = {k: torch.full_like(v, 7) for k, v in outer.state_dict().items()}
    torch.save(state, path)
    outer.init_cfg = [dict(type='Pretrained', checkpoint=path)]
    reset_weights(outer, initial_values(outer))
    assert all((v == 7).all() for v in outer.state_dict().values())
    inner = build(cfg).requires_grad_(False)
    inner.init_cfg = dict(type='Pretrained', checkpoint='/none/a.pth')
    parts = nn.Sequential(nn.Linear(8, 8), inner)
    before = {k: v.clone() for k, v in inner.state_dict().items()}
    reset_weights(parts, initial_values(parts))
    for key, value in inner.state_dict().items():
        assert torch.equal(value, before[key])

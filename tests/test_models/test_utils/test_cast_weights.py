# Copyright (c) csd_mmrazor developers. All rights reserved.
from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.nn as nn
from mmengine.optim import OptimWrapper
from torch.nn.utils import parametrizations, weight_norm

from csd_mmrazor.engine import calls
from csd_mmrazor.engine.optimizers import AutocastOptimWrapper
from csd_mmrazor.models.utils import cast_together


@contextmanager
def autocast(dtype=torch.bfloat16, enabled=True):
    with torch.autocast('cpu', dtype, enabled=enabled):
        yield


class Shared(nn.Module):
    """One weight twice, and one that is used by itself."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode='reflect')
        self.again = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.again.weight = self.conv.weight
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        x = self.again(self.conv(x).relu())
        return x + self.conv.weight.sum() + self.unused.weight[0, 0] * 0


class Uncast(nn.Module):
    """A part that runs without autocast."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        with torch.autocast('cpu', enabled=False):
            return self.conv(x.float())


class Checked(nn.Conv2d):
    """A class of its own."""

    def forward(self, x):
        return super().forward(x) * 2


def partly_frozen():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    model[0].requires_grad_(False)
    return model


NETWORKS = dict(
    plain=lambda: nn.Sequential(
        nn.Conv2d(3, 4, 3, groups=1, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=2, bias=False, dilation=2),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, 5),
    ),
    last=lambda: nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last),
    lines=lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 2, 5)),
    volumes=lambda: nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 2, 3)),
    shared=Shared,
    uncast=Uncast,
    own_class=lambda: Checked(3, 4, 3),
    partly_frozen=partly_frozen,
    parametrised=lambda: nn.Sequential(
        parametrizations.orthogonal(nn.Linear(16, 16)), nn.Linear(16, 2)
    ),
    weight_norm=lambda: weight_norm(nn.Conv2d(3, 4, 3)),
    transposed=lambda: nn.ConvTranspose2d(3, 4, 3),
)


def passes(model, images, together, dtype):
    """Outputs and gradients of two passes, the first without a graph."""
    model.zero_grad()
    images = images.clone().requires_grad_()
    with (
        autocast(dtype),
        cast_together(model) if together else nullcontext(),
    ):
        with torch.no_grad():
            first = model(images)
        second = model(images)
    (
        second.float() * torch.linspace(-1, 1, second.numel()).view_as(second)
    ).sum().backward()
    grads = [p.grad for p in model.parameters()]
    return [first, second, images.grad, *grads]


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('name', NETWORKS)
def test_same_to_the_bit(name, dtype):
    model = NETWORKS[name]().train()
    forwards = {m: 'forward' in vars(m) for m in model.modules()}
    images = torch.randn(4, 3, 16, 16)
    expected = passes(model, images, False, dtype)
    got = passes(model, images, True, dtype)
    for a, b in zip(expected, got):
        assert (a is None) == (b is None)
        assert a is None or (a.dtype == b.dtype and torch.equal(a, b))
    assert {m: 'forward' in vars(m) for m in model.modules()} == forwards


def test_one_call_for_all_weights():
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(5)])
    images = torch.randn(2, 4)

    def casts(context):
        def run():
            with autocast(), context():
                model(images).float().sum().backward()

        names = calls.kernel_calls(run)
        return names['aten._to_copy.default'], names[
            'aten._foreach_copy_.default'
        ]

    apart, _ = casts(nullcontext)
    together, copies = casts(lambda: cast_together(model))
    # Weights and biases, forward and backward.
    assert apart - together == 2 * 2 * 5 and copies == 2
    # Frozen ones in one context, whatever the number of passes.
    model.requires_grad_(False)

    def several():
        with autocast(), cast_together(model):
            for _ in range(3):
                model(images)

    assert calls.kernel_calls(several)['aten._foreach_copy_.default'] == 1


def test_without_autocast_nothing_is_cast():
    model = nn.Linear(4, 4)
    images = torch.randn(2, 4)
    with cast_together(model):
        assert torch.equal(
            model(images),
            nn.functional.linear(images, model.weight, model.bias),
        )


def test_a_weight_that_is_exchanged_counts():
    model, images = nn.Linear(4, 4), torch.randn(2, 4)
    with autocast(), cast_together(model):
        model(images)
        model.weight = nn.Parameter(torch.zeros(4, 4))
        found = model(images)
    assert torch.equal(found, model.bias.bfloat16().expand(2, 4))


def test_left_as_it_was_after_an_error():
    model = nn.Linear(4, 4)
    with pytest.raises(RuntimeError, match='stop'):
        with cast_together(model):
            raise RuntimeError('stop')
    assert 'forward' not in vars(model)


@pytest.mark.parametrize('distributed', [False, True])
def test_parts_of_a_model(distributed):
    """Several processes send gradients one by one: only frozen ones then."""
    model = nn.ModuleDict(dict(a=nn.Linear(3, 3), b=nn.Linear(3, 3)))
    model.b.requires_grad_(False)
    seen = model
    if distributed:
        seen = nn.Module()
        seen.module = model
    sgd = torch.optim.SGD(model.a.parameters(), 0.1)
    wrapper = AutocastOptimWrapper(optimizer=sgd)
    assert isinstance(wrapper, OptimWrapper)
    with wrapper.optim_context(seen):
        found = {name: 'forward' in vars(m) for name, m in model.items()}
    assert found == dict(a=not distributed, b=True)

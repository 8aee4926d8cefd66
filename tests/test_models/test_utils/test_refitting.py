# Copyright (c) csd_mmrazor developers. All rights reserved.
import copy

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import spectral_norm, weight_norm

from csd_mmrazor.models.utils import (
    find_refittable,
    narrow,
    refit,
    refitting,
    ridge,
)


class Net(nn.Module):
    """A classifier of mmpretrain's kind; stem and head around a part."""

    def __init__(self, part):
        super().__init__()
        self.stem, self.part = nn.Conv2d(3, 6, 3, padding=1), part
        self.head = nn.Linear(6, 4)

    def forward(self, inputs, mode='tensor'):
        maps = self.part(F.relu(self.stem(inputs)))
        return self.head(maps.mean((2, 3)) if maps.ndim == 4 else maps)


class Block(nn.Module):
    """Two convolutions and what leads around them."""

    def __init__(self, norm=True, bias=False, stride=1, inplace=True):
        super().__init__()
        self.conv1 = nn.Conv2d(6, 8, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace)
        self.conv2 = nn.Conv2d(8, 6, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.stride = stride

    def forward(self, maps):
        around = maps[:, :, :: self.stride, :: self.stride]
        maps = self.relu(self.bn1(self.conv1(maps)))
        return self.relu(self.bn2(self.conv2(maps)) + around)


class ByName(Block):
    def forward(self, maps):
        found = self.relu(self.bn1(input=self.conv1(input=maps)))
        return self.relu(self.bn2(input=self.conv2(input=found)) + maps)


class Standardised(nn.Conv2d):
    def forward(self, maps):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(maps, weight, self.bias, padding=self.padding)


def with_layer(change):
    """A block whose second convolution is another layer."""
    block = Block()
    block.conv2 = change(block.conv2) or block.conv2
    return block


def doubled(layer):
    layer.register_forward_hook(lambda _, args, output: 2 * output)


class Twice(Block):
    def forward(self, maps):
        return super().forward(super().forward(maps))


class Mlp(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Flatten(), nn.Linear(384, 8), nn.ReLU(), nn.Linear(8, 6)
        )


def grouped():
    return nn.Sequential(
        nn.Conv2d(6, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2)
    )


def lively(net):
    """Weights and statistics that all do something."""
    torch.manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.uniform_(-0.5, 0.5)
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.1, 0.3)
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    return net.eval()


def halved(net, layers):
    """Without the second half of what goes from a layer to the next."""
    state = {k: v.clone() for k, v in net.state_dict().items()}
    for first, norm, second in layers:
        kept = state[f'{first}.weight'].shape[0] // 2
        for name in (first, norm):
            for key in [k for k in state if k.startswith(f'{name}.')]:
                if state[key].ndim:
                    state[key] = state[key][:kept]
        state[f'{second}.weight'] = state[f'{second}.weight'][:, :kept]
    pruned = narrow(copy.deepcopy(net), {k: v.shape for k, v in state.items()})
    pruned.load_state_dict(state)
    return pruned.eval()


INPUTS = torch.randn(96, 3, 8, 8, generator=torch.Generator().manual_seed(1))
BLOCK = ('part.conv1', 'part.bn1', 'part.conv2')
KINDS = {
    'BN': (lambda: Block(), BLOCK, 'part.bn2'),
    'in place': (lambda: Block(inplace=False), BLOCK, 'part.bn2'),
    'bias': (lambda: Block(norm=False, bias=True), BLOCK, None),
    'bias and BN': (lambda: Block(bias=True), BLOCK, 'part.bn2'),
    'neither': (lambda: Block(norm=False), BLOCK, None),
    'stride': (lambda: Block(stride=2), BLOCK, 'part.bn2'),
    'by name': (ByName, BLOCK, 'part.bn2'),
    'linear': (Mlp, ('part.1', 'none', 'part.3'), None),
}


@pytest.mark.parametrize('size', [1, 40_000])
@pytest.mark.parametrize('kind', KINDS)
def test_memory_of_a_fit_is_bounded(kind, size, monkeypatch):
    """What is looked at in parts is fitted as it is in one."""
    part, names, _ = KINDS[kind]
    teacher = lively(Net(part()))
    # Whatever a pass brings.
    assert len(INPUTS) > refitting.BATCH
    found, rows = [], []
    columns = refitting._columns
    monkeypatch.setattr(
        refitting,
        '_columns',
        lambda *args: rows.append(columns(*args)) or rows[-1],
    )
    for limit in (2**40, size):
        monkeypatch.setattr(refitting, '_BYTES', limit)
        student = halved(teacher, [names])
        places = find_refittable(teacher, student, INPUTS[:2])
        rows.clear()
        refit(teacher, student, INPUTS, places)
        found.append(student.state_dict())
    sizes = [8 * each[:, 1:].numel() for each in rows]
    assert max(sizes) <= size or len(rows) == len(INPUTS)
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('kind', KINDS)
def test_what_was_double_costs_nothing(kind):
    """Removed channels that are functions of those left are made up for."""
    part, names, norm = KINDS[kind]
    teacher = lively(Net(part()))
    first, bn, second = names
    for name in (first, bn):
        for key, value in teacher.state_dict().items():
            if key.startswith(f'{name}.') and value.ndim:
                value[4:] = value[:4]  # channel 4 + i is channel i
    student = halved(teacher, [names])
    # Other statistics than the teacher's are of no use afterwards.
    if norm:
        student.get_submodule(norm).running_mean.add_(1)
    before = copy.deepcopy(teacher.state_dict())
    places = find_refittable(teacher, student.train(), INPUTS[:2])
    assert [(p.layer, p.norm, p.block) for p in places] == [
        (second, norm, 'part')
    ]
    start, found = refit(teacher, student, INPUTS, places)
    assert student.training and not teacher.training
    assert found.kl < 1e-6 < 1e-3 * start.kl
    with torch.no_grad():
        wanted = teacher(INPUTS)
        torch.testing.assert_close(
            student.eval()(INPUTS), wanted, rtol=1e-2, atol=1e-2
        )
    agree = (student(INPUTS).argmax(1) == wanted.argmax(1)).double().mean()
    assert found.agreement == agree.item()
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('intercept', [True, False])
@pytest.mark.parametrize('dead', [True, False])
def test_ridge_is_least_squares(intercept, dead):
    rng = np.random.default_rng(0)
    x = rng.normal(1, 1, (200, 5)) * (not dead)
    y = x @ rng.normal(size=(5, 3)) + rng.normal(3, 1, (200, 3))
    ones = np.c_[x, np.ones(200)]
    weights, constants = ridge(
        torch.from_numpy(ones.T @ ones),
        torch.from_numpy(ones.T @ y),
        intercept,
    )
    columns = ones if intercept else x
    expected = np.linalg.lstsq(columns, y, rcond=None)[0]
    np.testing.assert_allclose(weights, expected[:5], atol=1e-3)
    if intercept:
        np.testing.assert_allclose(constants, expected[5], atol=1e-3)
    else:
        assert not constants.any()


def test_it_makes_up_for_errors_that_lead_around():
    """Later blocks get a wrong map, and mend it."""
    teacher = lively(Net(nn.Sequential(*(Block() for _ in range(4)))))
    names = [
        (f'part.{n}.conv1', f'part.{n}.bn1', f'part.{n}.conv2') for n in '0123'
    ]
    student = halved(teacher, names)
    places = find_refittable(teacher, student, INPUTS[:2])
    assert [p.block for p in places] == [f'part.{n}' for n in '0123']
    alone = copy.deepcopy(student)
    refit(teacher, student, INPUTS, places)

    def maps(net):
        with torch.no_grad():
            return net.part(F.relu(net.stem(INPUTS)))

    # By hand: as near to the teacher's own layer as its inputs allow.
    with torch.no_grad():
        x_t = x_s = F.relu(teacher.stem(INPUTS))
        for t, s in zip(teacher.part, alone.part):
            h_t, h_s = (
                b.relu(b.bn1(b.conv1(x))) for b, x in ((t, x_t), (s, x_s))
            )
            a = F.unfold(h_s, 3, padding=1).transpose(1, 2).flatten(0, 1)
            y = t.conv2(h_t).flatten(2).transpose(1, 2).flatten(0, 1)
            a = F.pad(a, (0, 1), value=1)
            w = torch.linalg.lstsq(a.double(), y.double()).solution.float()
            s.conv2.weight.copy_(w[:-1].T.reshape(s.conv2.weight.shape))
            s.bn2.load_state_dict(t.bn2.state_dict())
            s.bn2.running_mean -= w[-1]
            x_t, x_s = t(x_t), s(x_s)
    wanted = maps(teacher)
    by_layer, found = (
        (maps(net) - wanted).square().mean() for net in (alone, student)
    )
    print(found, by_layer)
    assert found < 0.9 * by_layer


@pytest.mark.parametrize(
    'change',
    [
        lambda _: Standardised(8, 6, 3, padding=1, bias=False),
        doubled,
        weight_norm,
        spectral_norm,
    ],
)
def test_layers_that_compute_something_else_are_left_out(change):
    """Weights that were solved for would mean something else in them."""
    teacher = lively(Net(with_layer(change)))
    student = lively(Net(with_layer(change)))
    student.part.conv1 = nn.Conv2d(6, 4, 3, padding=1, bias=False)
    student.part.bn1 = nn.BatchNorm2d(4)
    conv = student.part.conv2
    for name in ('weight', 'weight_v', 'weight_orig'):
        value = conv._parameters.get(name)
        if value is not None:
            conv._parameters[name] = nn.Parameter(value[:, :4].detach())
    if change is spectral_norm:
        conv.weight_v = torch.randn(36)
    student(INPUTS[:2])
    assert conv.weight.shape == (6, 4, 3, 3)
    assert not find_refittable(teacher, student, INPUTS[:2])


def test_what_cannot_be_fitted_is_left_out():
    for part, names in (
        (Twice(), BLOCK),  # runs twice
        (grouped(), ('part.0', 'none', 'part.2')),
    ):
        teacher = lively(Net(part))
        if isinstance(part, Twice):
            student = halved(teacher, [names])
        else:  # as pruned by groups
            student = Net(grouped())
            student.part[0] = nn.Conv2d(6, 4, 1)
            student.part[2] = nn.Conv2d(4, 6, 3, groups=2)
        assert not find_refittable(teacher, student, INPUTS[:2])
    teacher = lively(Net(Block()))
    student = halved(teacher, [BLOCK])
    (place,) = find_refittable(teacher, student, INPUTS[:2])
    assert (place.layer, place.norm) == ('part.conv2', 'part.bn2')
    student.part.bn2.weight.requires_grad_(False)
    (place,) = find_refittable(teacher, student, INPUTS[:2])
    assert (place.layer, place.norm) == ('part.conv2', None)
    student.part.conv2.requires_grad_(False)
    assert not find_refittable(teacher, student, INPUTS[:2])
    same = lively(Net(Block()))
    assert not find_refittable(same, copy.deepcopy(same), INPUTS[:2])

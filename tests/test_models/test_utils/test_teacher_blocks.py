# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Blocks that a student starts from, against brute force on real copies."""

import copy

import pytest
import timm
import torch
import torch.nn as nn
from helpers import Cached, build

from csd_mmrazor.models.utils import (
    choose_blocks,
    copy_blocks,
    count_candidates,
    find_chains,
    teacher_blocks,
)

ONE = torch.ones(1)


class Net(nn.Module):
    """Three chains, of which the first of the second and third widen."""

    def __init__(self, *depths, width=4, act=nn.ReLU):
        super().__init__()

        def block(before, after):
            return nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)
            )

        class Residual(nn.Module):
            def __init__(self, before, after):
                super().__init__()
                self.body, self.act = block(before, after), act()
                self.is_wider = after > before

            def forward(self, x, scale=1):
                y = self.body(x) * scale
                return self.act(y if self.is_wider else x + y)

        self.stem = nn.Conv2d(1, width, 3)
        self.a, self.b, self.c = (
            nn.ModuleList(
                Residual(width * 2 ** (i - (i > 0 and j == 0)), width * 2**i)
                for j in range(depth)
            )
            for i, depth in enumerate(depths)
        )
        self.fc = nn.Linear(4 * width, 5)

    def forward(self, x, mode=None):
        x = self.stem(x)
        for block in [*self.a, *self.b, *self.c]:
            x = block(x, scale=0.5)
        return self.fc(x.mean((2, 3)))


def lived_in(model, shape=(1, 8, 8)):
    """Draw statistics, so that each block does something of its own."""
    model.train()
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.weight.uniform_(0.5, 2)
                part.bias.uniform_(-0.5, 0.5)
            if isinstance(part, nn.Linear):
                part.weight.normal_(0, 0.3)
        for _ in range(3):
            model(torch.randn(16, *shape), mode='tensor')
    return model.eval()


def really_without(model, kept):
    """A copy without the blocks that are not kept."""
    model = copy.deepcopy(model)
    for name, places in kept.items():
        blocks = list(getattr(model, name))
        setattr(model, name, nn.ModuleList(blocks[i] for i in places))
    return model


def error_after(teacher, kept, name, inputs):
    """Squared error of the map after a container."""

    def after(model):
        x = model.stem(inputs)
        for chain in 'abc':
            for block in getattr(model, chain):
                x = block(x, scale=0.5)
            if chain == name:
                return x

    with torch.no_grad():
        less = really_without(teacher, kept)
        return (after(less) - after(teacher)).square().sum().item()


def kl(teacher, model, inputs):
    with torch.no_grad():
        p = teacher(inputs).double().softmax(1)
        q = model(inputs).double().softmax(1)
    return (p * (p / q).log()).sum(1).mean().item()


@pytest.fixture
def pair():
    return lived_in(Net(4, 3, 4)), Net(2, 2, 1), torch.randn(70, 1, 8, 8)


def test_the_best_of_all_choices(pair):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    found = choose_blocks(teacher, inputs, chains)
    for name, choices in dict(
        a=[[0, i] for i in range(1, 4)],
        b=[[0, i] for i in range(1, 3)],
        c=[[0]],
    ).items():
        assert found.kept[name] == min(
            choices,
            key=lambda kept: error_after(teacher, {name: kept}, name, inputs),
        )
    pruned = really_without(teacher, found.kept)
    assert found.kl == pytest.approx(kl(teacher, pruned, inputs), rel=1e-4)
    with torch.no_grad():
        alike = pruned(inputs).argmax(1) == teacher(inputs).argmax(1)
    assert found.agreement == alike.double().mean().item()
    # The same again.
    assert choose_blocks(teacher, inputs, chains) == found


def test_one_after_another_where_there_are_too_many(pair):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    found = choose_blocks(teacher, inputs, chains, tried=2)
    kept = [*range(4)]
    for _ in range(2):
        kept = min(
            ([i for i in kept if i != gone] for gone in kept[1:]),
            key=lambda rest: error_after(teacher, dict(a=rest), 'a', inputs),
        )
    assert found.kept['a'] == kept


@pytest.mark.parametrize('tried', [2, 200])
def test_nothing_is_computed_twice(pair, tried):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    made = []
    for name in 'stem', 'a.0', 'a.1', 'a.2', 'a.3', 'b.0', 'b.1', 'b.2':
        teacher.get_submodule(name).register_forward_hook(
            lambda *_, name=name: made.append(name)
        )
    choose_blocks(teacher, inputs[:9], chains, tried)
    # Containers, and whole passes, of which one lacks blocks.
    assert made.count('stem') == 3 + 2
    others = sum(made.count(f'a.{i}') for i in (1, 2, 3))
    if tried == 2:  # [0, 1, 2], [0, 1, 3], [0, 2, 3], then two of two
        assert (made.count('a.0'), others) == (5 + 2, 3 * 5 + 5 + 2)
    else:  # [0, 1], [0, 2], [0, 3]
        assert (made.count('a.0'), others) == (5 + 1, 3 * 5 + 3)
    others = made.count('b.1') + made.count('b.2')
    assert (made.count('b.0'), others) == (4 + 1, 2 * 4 + 2)


@pytest.mark.parametrize('tried', [1, 2, 200])
def test_as_many_are_compared_as_are_counted(pair, tried, monkeypatch):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    compared = []
    errors = teacher_blocks._ChainPass.errors

    def spy(self, choices):
        compared.extend(choices)
        return errors(self, choices)

    monkeypatch.setattr(teacher_blocks._ChainPass, 'errors', spy)
    choose_blocks(teacher, inputs[:9], chains, tried)
    # a: 3 of 3 or 3 + 2; b: 2; c: the one that there is.
    assert len(compared) == (6 if tried == 200 else 8)
    assert count_candidates(chains, tried) == len(compared)


class Clamped(Net):
    """Something comes between blocks."""

    def forward(self, x, mode=None):
        x = self.stem(x)
        for block in [*self.a, *self.b, *self.c]:
            x = block(x.clamp(max=1), scale=0.5)
        return self.fc(x.mean((2, 3)))


class ClampedInPlace(Net):
    """Something is done to what blocks return, which stays the same tensor."""

    def forward(self, x, mode=None):
        x = self.stem(x)
        for block in [*self.a, *self.b, *self.c]:
            x = block(x).clamp_(max=1)
        return self.fc(x.mean((2, 3)))


class Aliased(Net):
    """A layer has two names."""

    def __init__(self, *args):
        super().__init__(*args)
        self.head = self.fc


class Residuals(Net):
    """Blocks get a tensor that follows from those before."""

    def forward(self, x, mode=None):
        x = self.stem(x)
        for block in [*self.a, *self.b, *self.c]:
            x = block(x, scale=x.mean((1, 2, 3), keepdim=True))
        return self.fc(x.mean((2, 3)))


class Twice(Net):
    """The first container is run twice."""

    def forward(self, x, mode=None):
        x = self.stem(x)
        for block in [*self.a, *self.a, *self.b, *self.c]:
            x = block(x)
        return self.fc(x.mean((2, 3)))


class InPlace(Net):
    """Blocks change what they are given."""

    def forward(self, x, mode=None):
        x = self.stem(x)
        for block in [*self.a, *self.b, *self.c]:
            x = block(x)
        return self.fc(x.mean((2, 3)))

    def __init__(self, *args):
        super().__init__(*args)
        for chain in self.a, self.b, self.c:
            for block in chain:
                block.register_forward_pre_hook(
                    lambda _, args: (args[0].clamp_(max=1),)
                )


@pytest.mark.parametrize(
    'kind',
    [Net, Clamped, ClampedInPlace, Aliased, Residuals, Twice, InPlace],
)
@pytest.mark.parametrize('tried', [2, 200])
def test_the_best_whatever_blocks_are_given(kind, tried):
    """As found by networks that lack the blocks."""
    teacher, student = lived_in(kind(4, 3, 4)), kind(2, 2, 1)
    inputs = torch.randn(70, 1, 8, 8)
    chains = find_chains(teacher, student, inputs[:2])
    found = choose_blocks(teacher, inputs, chains, tried).kept

    def after(model, name):
        maps = []
        block = getattr(model, name)[-1]
        handle = block.register_forward_hook(
            lambda *a: maps.append(a[-1].clone())
        )
        with torch.no_grad():
            model(inputs.clone())
        handle.remove()
        return maps[0]

    def error(name, kept):
        less = after(really_without(teacher, {name: kept}), name)
        return (less - after(teacher, name)).square().sum().item()

    kept = [*range(4)]
    if tried == 2:
        for _ in range(2):
            rests = [[i for i in kept if i != gone] for gone in kept[1:]]
            kept = min(rests, key=lambda rest: error('a', rest))
    else:
        kept = min(
            [[0, i] for i in (1, 2, 3)], key=lambda rest: error('a', rest)
        )
    assert found['a'] == kept
    assert found['b'] == min(
        [[0, 1], [0, 2]], key=lambda rest: error('b', rest)
    )


@pytest.mark.parametrize('name, after', [('stem', 5), ('b.1', 4)])
def test_an_error_leaves_the_teacher_as_it_was(pair, name, after):
    teacher, student, inputs = pair
    chains = find_chains(teacher, student, inputs[:2])
    teacher.a[1].forward = own = teacher.a[1].forward
    names = [name for name, _ in teacher.named_modules()]
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) > after:
            raise RuntimeError('in the middle')

    part = teacher.get_submodule(name)
    part.register_forward_pre_hook(fail)
    teacher.train()
    with pytest.raises(RuntimeError, match='in the middle'):
        choose_blocks(teacher, inputs, chains)
    assert all(part.training for part in teacher.modules())
    assert [name for name, _ in teacher.named_modules()] == names
    patched = [n for n, m in teacher.named_modules() if 'forward' in vars(m)]
    assert patched == ['a.1']
    assert teacher.a[1].forward is own


REFUSED = {
    'more blocks': (dict(depths=(5, 2, 1)), 'a has 4 in the teacher and 5 in'),
    'as many': (dict(depths=(4, 3, 4)), 'as many of them as its teacher'),
    'wider': (
        dict(depths=(2, 2, 1), width=6),
        r'stem.weight is of shape \(4, 1, 3, 3\) in the teacher and of shape '
        r'\(6, 1, 3, 3\) in the student',
    ),
    'another activation': (
        dict(depths=(2, 2, 1), act=nn.Tanh),
        'does not compute what is left of the teacher',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_other_students_are_refused(pair, case):
    arguments, message = REFUSED[case]
    arguments = dict(arguments)
    teacher, _, inputs = pair
    with pytest.raises(ValueError, match=message):
        find_chains(
            teacher, Net(*arguments.pop('depths'), **arguments), inputs[:2]
        )


@pytest.mark.parametrize('role', ['teacher', 'student'])
def test_blocks_that_run_in_several_places_are_refused(pair, role):
    teacher, student, inputs = pair
    model = dict(teacher=teacher, student=student)[role]
    within, across = copy.deepcopy(model), model
    within.a[1] = within.a[0]
    across.b[1] = across.c[-1] if role == 'teacher' else across.a[1]
    for changed, message in (
        (within, 'a.0 and a.1 are one block'),
        (across, r'\w.\d and \w.\d are one block'),
    ):
        networks = [teacher, student]
        networks[role == 'student'] = changed
        with pytest.raises(ValueError, match=message):
            find_chains(*networks, inputs[:2])


def test_what_stands_in_several_places_is_skipped_once():
    act = nn.ReLU()
    with teacher_blocks.skipped([act, act]):
        assert act(-ONE) == -ONE
    assert act(-ONE) == 0 and 'forward' not in vars(act)


def test_other_blocks_are_named(pair):
    teacher, student, inputs = pair
    student.a[1].body[0] = nn.Conv2d(4, 4, 1)
    with pytest.raises(
        ValueError,
        match=r'a.0.body.0.weight is of shape \(4, 4, 3, 3\) in the teacher, '
        r'and a.1.body.0.weight is of shape \(4, 4, 1, 1\) in the student',
    ):
        find_chains(teacher, student, inputs[:2])
    # There is such a block now, but in another place.
    student.a.append(copy.deepcopy(student.a[1]))
    student.a[1] = copy.deepcopy(student.a[0])
    teacher.a[1].body[0] = nn.Conv2d(4, 4, 1)
    with pytest.raises(ValueError, match='blocks of a cannot be left out'):
        find_chains(teacher, student, inputs[:2])


def torch_net(factory, **arguments):
    return dict(
        type='TorchClassifier', factory=factory, num_classes=5, **arguments
    )


def of_mmpretrain(width, head='LinearClsHead', pool=True, **backbone):
    return dict(
        _scope_='mmpretrain',
        type='ImageClassifier',
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling') if pool else None,
        head=dict(type=head, num_classes=5, in_channels=width),
    )


def vit(depth):
    return of_mmpretrain(
        16,
        'VisionTransformerClsHead',
        pool=False,
        type='VisionTransformer',
        arch=dict(
            embed_dims=16,
            num_layers=depth,
            num_heads=2,
            feedforward_channels=32,
        ),
        img_size=16,
        patch_size=4,
    )


def swin(*depths):
    arch = dict(embed_dims=16, depths=depths, num_heads=[2, 2])
    return of_mmpretrain(
        32,
        type='SwinTransformer',
        arch=arch,
        img_size=16,
        patch_size=2,
        window_size=2,
        out_indices=(1,),
    )


# Networks of others, as configs name them: teacher, student, length of chains.
FAMILIES = dict(
    CIFARResNet=(
        of_mmpretrain(64, type='mmrazor.CIFARResNet', depth=20),
        of_mmpretrain(64, type='mmrazor.CIFARResNet', depth=8),
        [1, 1, 1],
    ),
    ResNet=(
        *(
            of_mmpretrain(
                64, type='ResNet', depth=d, base_channels=8, stem_channels=8
            )
            for d in (34, 18)
        ),
        [2, 2, 2, 2],
    ),
    ResNet_CIFAR=(
        *(
            of_mmpretrain(
                64,
                type='ResNet_CIFAR',
                depth=d,
                base_channels=8,
                stem_channels=8,
            )
            for d in (34, 18)
        ),
        [2, 2, 2, 2],
    ),
    WideResNet=(
        *(
            of_mmpretrain(
                128, type='mmrazor.WideResNet', depth=d, widen_factor=2
            )
            for d in (22, 10)
        ),
        [1, 1, 1],
    ),
    torchvision_resnet=(
        torch_net('torchvision.models.resnet34'),
        torch_net('torchvision.models.resnet18'),
        [2, 2, 2, 2],
    ),
    torchvision_vit=(
        *(
            torch_net(
                'torchvision.models.VisionTransformer',
                image_size=16,
                patch_size=4,
                num_layers=d,
                num_heads=2,
                hidden_dim=16,
                mlp_dim=32,
            )
            for d in (4, 2)
        ),
        [2],
    ),
    timm_resnet=(
        # As resnet26 and resnet14, with few channels.
        *(
            torch_net(
                'timm.models.resnet.ResNet',
                block=timm.models.resnet.Bottleneck,
                layers=[n] * 4,
                base_width=8,
            )
            for n in (2, 1)
        ),
        [1, 1, 1, 1],
    ),
    timm_vit=(
        *(
            torch_net(
                'timm.models.VisionTransformer',
                img_size=16,
                patch_size=4,
                embed_dim=16,
                depth=d,
                num_heads=2,
                drop_path_rate=0.1,
                drop_rate=0.1,
            )
            for d in (5, 3)
        ),
        [3],
    ),
    vit=(vit(4), vit(2), [2]),
    # Every second block shifts its windows, which no weight tells.
    swin=(swin(2, 4), swin(2, 2), None),
    convnext=(
        *(
            torch_net(
                'timm.models.ConvNeXt',
                depths=d,
                dims=[8, 16, 16, 16],
                patch_size=2,
            )
            for d in ([1, 3, 1, 1], [1, 1, 1, 1])
        ),
        [1],
    ),
)


def test_layers_that_keep_something_for_eval_mode():
    """What is computed is of the weights that they have at the time."""
    teacher, student = lived_in(Net(3, 2, 2)), Net(2, 2, 2).eval()
    for model in (teacher, student):
        model.fc.__class__ = Cached
    inputs = torch.randn(4, 1, 8, 8)
    expected = student(inputs)
    chains = find_chains(teacher, student, inputs)
    torch.testing.assert_close(student(inputs), expected)
    choice = choose_blocks(teacher, inputs, chains)
    copy_blocks(teacher, student, chains, choice.kept)
    found = student(inputs)
    student.train().eval()  # by which it forgets
    torch.testing.assert_close(student(inputs), found)


@pytest.mark.parametrize('family', FAMILIES)
def test_networks_of_others(family, scope):
    teacher, student, lengths = FAMILIES[family]
    size = 32 if family == 'convnext' else 16
    teacher, student = build(teacher), build(student).eval()
    teacher.init_weights()
    lived_in(teacher, (3, size, size)).train()  # modes stay as they are
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    inputs = torch.randn(12, 3, size, size)
    if lengths is None:
        with pytest.raises(ValueError, match='does not compute what is left'):
            find_chains(teacher, student, inputs[:2])
        return
    chains = find_chains(teacher, student, inputs[:2])
    assert [len(chain.wanted) for chain in chains] == lengths
    choice = choose_blocks(teacher, inputs, chains)
    copy_blocks(teacher, student, chains, choice.kept)
    # The very student decides as was said.
    assert all(part.training for part in teacher.modules())
    teacher.eval()
    with torch.no_grad():
        p = teacher(inputs, mode='tensor').double().softmax(1)
        q = student(inputs, mode='tensor').double().softmax(1)
    kl = (p * (p / q).log()).sum(1).mean().item()
    assert kl == pytest.approx(choice.kl, rel=1e-2, abs=1e-6)
    assert choice.kl > 0
    # And every weight of it is one of the teacher's.
    after = teacher.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert not any('forward' in vars(part) for part in teacher.modules())
    known = {value.double().sum().item() for value in before.values()}
    sums = [v.double().sum().item() for v in student.state_dict().values()]
    assert set(sums) <= known

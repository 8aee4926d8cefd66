# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Some views of each image in place of all: an unbiased estimate."""

from itertools import permutations, product

import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from helpers import build, network
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample

from csd_mmrazor.models import Networks
from csd_mmrazor.models.pretext_tasks import (
    chosen_views,
    draw_views,
    joint_labels,
)
from csd_mmrazor.models.synthesizers.observer import observing

HEAD = dict(type='SelfSupervisedAuxHead', num_classes=3, in_channels=8)
CPU = torch.device('cpu')


@pytest.mark.parametrize('views_per_image', [1, 2, 4])
def test_draws_are_even_and_differ(views_per_image):
    drawn = draw_views(4800, 4, views_per_image, CPU)
    assert drawn.shape == (4800, views_per_image)
    assert all(len(set(row)) == views_per_image for row in drawn.tolist())
    kinds = [*permutations(range(4), views_per_image)]
    rows = [tuple(row) for row in drawn.tolist()]
    counts = torch.tensor([rows.count(kind) for kind in kinds])
    expected = 4800 / len(kinds)
    # 6 standard deviations at most.
    assert (counts - expected).abs().max() <= 6 * expected**0.5


def test_chosen_views_and_their_labels():
    views = torch.arange(12).view(12, 1)  # 3 images with 4 views
    drawn = torch.tensor([[3, 0], [1, 2], [0, 1]])
    chosen = chosen_views(views, drawn)
    assert chosen.flatten().tolist() == [3, 0, 5, 6, 8, 9]
    labels = torch.tensor([2, 0, 1])
    assert joint_labels(labels, 4, drawn).tolist() == [11, 8, 1, 2, 4, 5]
    assert torch.equal(
        joint_labels(labels, 4), joint_labels(labels, 4, torch.arange(4))
    )


def all_draws(number, views_per_image):
    """All that can be drawn for so many images, all alike likely."""
    each = [*permutations(range(4), views_per_image)]
    for rows in product(each, repeat=number):
        yield torch.tensor(rows)


@pytest.mark.parametrize('views_per_image', [1, 2, 4])
def test_the_loss_of_the_head_is_right_on_average(views_per_image):
    head = build(HEAD)
    head.init_weights()
    features, labels = torch.randn(8, 8), torch.tensor([2, 0])
    full = head.loss(features, labels)['loss_aux']
    grads = torch.autograd.grad(full, [*head.parameters()])
    losses = torch.stack(
        [
            head.loss(chosen_views(features, drawn), labels, drawn)['loss_aux']
            for drawn in all_draws(2, views_per_image)
        ]
    )
    assert views_per_image == 4 or losses.max() - losses.min() > 1e-3
    torch.testing.assert_close(losses.mean(), full)
    found = torch.autograd.grad(losses.mean(), [*head.parameters()])
    for a, b in zip(found, grads):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.fixture
def networks():
    teacher, student = (
        build(network(base_channels=4, num_classes=3)) for _ in range(2)
    )
    head = build(HEAD)
    for part in (teacher, student, head):
        part.init_weights()
    teacher.eval()
    return Networks(
        nn.ModuleDict(dict(teacher=teacher)), student, head, lambda x: x - 0.5
    )


@pytest.mark.parametrize('views_per_image', [1, 3])
def test_the_term_of_synthesis_is_right_on_average(networks, views_per_image):
    """Its value and its gradient, over all that can be drawn."""
    loss = build(dict(type='CSDLoss'))
    distiller = build(dict(type='ConfigurableDistiller'))
    images = torch.rand(2, 1, 8, 8, requires_grad=True)
    labels = torch.tensor([1, 2])

    def term(observer):
        observation = observer.observe(images, torch.zeros(2, 1), labels)
        seen.append(len(observation.aux_logits))
        return loss(observation.aux_logits, observation.joint_labels)

    seen, values = [], []
    needs = {'aux_logits', 'joint_labels'}
    with observing(networks, distiller, needs) as observer:
        full = term(observer)
    with observing(
        networks, distiller, needs, views_per_image=views_per_image
    ) as observer:
        drawn = observer.draw_views(images)
        assert drawn.shape == (2, views_per_image)
        for each in all_draws(2, views_per_image):
            observer.draw_views = lambda _, each=each: each
            values.append(term(observer))
    assert seen == [8] + len(values) * [2 * views_per_image]
    mean = torch.stack(values).mean()
    torch.testing.assert_close(mean, full)
    a, b = (torch.autograd.grad(each, images)[0] for each in (mean, full))
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * b.abs().max())


def synthesizer(**options):
    return build(
        dict(
            dict(
                type='ImageSynthesizer',
                generator=dict(type='PixelGenerator', img_size=8, channels=1),
                losses=dict(loss_csd=dict(type='CSDLoss')),
                batch_size=5,
                iters=2,
            ),
            **options,
        )
    )


@pytest.mark.parametrize('views_per_image', [None, 1, 2])
def test_views_that_the_student_sees(networks, tiny_config, views_per_image):
    """In steps of synthesis and of the head."""
    seen = []
    networks.student.backbone.register_forward_hook(
        lambda _, args, out: seen.append(len(args[0]))
    )
    parts = synthesizer(views_per_image=views_per_image)
    parts.check(networks)
    seen.clear()
    parts.synthesize(networks, 3, seed=0)
    assert seen == 2 * [5 * (views_per_image or 4)]
    cfg = tiny_config().model
    cfg.aux_head.views_per_image = views_per_image
    model = build(cfg)
    model.student.backbone.register_forward_hook(
        lambda _, args, out: seen.append(len(args[0]))
    )
    seen.clear()
    model.eval()
    inputs = torch.rand(6, 1, 8, 8)
    state = torch.get_rng_state()
    losses = model.aux_loss(inputs, torch.arange(6))
    assert seen == [6 * (views_per_image or 4)]
    assert losses['loss_aux'] > 0
    # Nothing is drawn by default, or other runs would change.
    is_same = torch.equal(torch.get_rng_state(), state)
    assert is_same == (views_per_image is None)


def test_the_head_of_other_algorithms():
    model = build(
        dict(
            network(num_classes=3),
            type='mmrazor.SelfSupervisedClassifier',
            aux_head=dict(HEAD, _scope_='mmrazor', views_per_image=1),
        )
    )
    seen = []
    model.backbone.register_forward_hook(
        lambda _, args, out: seen.append(len(args[0]))
    )
    data = dict(
        inputs=torch.rand(4, 1, 8, 8),
        data_samples=[
            DataSample().set_gt_label(torch.tensor(label))
            for label in (0, 1, 2, 0)
        ],
    )
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    model.train_step(data, wrapper)
    assert seen == [4, 4]


@pytest.mark.parametrize(
    'value, message',
    [
        (0, 'a positive integer'),
        (-1, 'a positive integer'),
        (1.5, 'integer'),
        (True, 'integer'),
        ('one', 'integer'),
        (5, 'at most 4, .* got 5'),
    ],
)
def test_numbers_of_views_that_there_are_not(networks, value, message):
    name = 'views_per_image of '
    with pytest.raises(ValueError, match=f'{name}SelfSuper.*{message}'):
        build(dict(HEAD, views_per_image=value))
    with pytest.raises(ValueError, match=f'{name}ImageSynth.*{message}'):
        synthesizer(views_per_image=value).check(networks)


def test_views_without_a_loss_that_sees_them(networks):
    parts = synthesizer(
        losses=dict(loss_oh=dict(type='OneHotLoss')), views_per_image=1
    )
    with pytest.raises(ValueError, match='views_per_image=1 .* does nothing'):
        parts.check(networks)


def test_the_draws_of_a_run_give_the_loss_on_average():
    """Not only those that are enumerated."""
    logits, labels = torch.randn(4 * 2, 12), torch.tensor([0, 2])
    full = F.cross_entropy(logits, joint_labels(labels, 4))
    found = []
    for _ in range(2000):
        drawn = draw_views(2, 4, 1, CPU)
        found.append(
            F.cross_entropy(
                chosen_views(logits, drawn), joint_labels(labels, 4, drawn)
            )
        )
    found = torch.stack(found)
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - full) < 5 * error

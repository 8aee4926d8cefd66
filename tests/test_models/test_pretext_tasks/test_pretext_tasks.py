# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
from mmrazor.registry import TASK_UTILS

from csd_mmrazor.models import (
    ChannelPermutationTask,
    FlipTask,
    HalfShiftTask,
    RotationPermutationTask,
    RotationTask,
)
from csd_mmrazor.models.pretext_tasks import check_views, joint_labels


def test_rotations_by_hand():
    image = torch.tensor([[1, 2], [3, 4]]).view(1, 1, 2, 2)
    views = RotationTask().views(torch.cat([image, image + 10]))
    expected = [
        [[1, 2], [3, 4]],
        [[2, 4], [1, 3]],
        [[4, 3], [2, 1]],
        [[3, 1], [4, 2]],
    ]
    assert views[:4, 0].tolist() == expected
    assert (views[4:, 0] - 10).tolist() == expected


def test_permutations_by_hand():
    image = torch.tensor([1, 2, 3]).view(1, 3, 1, 1)
    views = ChannelPermutationTask().views(torch.cat([image, image + 10]))
    orders = [
        [1, 2, 3],
        [1, 3, 2],
        [2, 1, 3],
        [2, 3, 1],
        [3, 1, 2],
        [3, 2, 1],
    ]
    assert views[:6, :, 0, 0].tolist() == orders
    assert (views[6:, :, 0, 0] - 10).tolist() == orders


def test_flips_by_hand():
    image = torch.tensor([[1, 2, 3], [4, 5, 6]]).view(1, 1, 2, 3)
    views = FlipTask().views(torch.cat([image, image + 10]))
    expected = [
        [[1, 2, 3], [4, 5, 6]],
        [[3, 2, 1], [6, 5, 4]],
        [[4, 5, 6], [1, 2, 3]],
        [[6, 5, 4], [3, 2, 1]],
    ]
    assert views[:4, 0].tolist() == expected
    assert (views[4:, 0] - 10).tolist() == expected


def test_quarters_by_hand():
    image = torch.tensor([[1, 2], [3, 4]]).view(1, 1, 2, 2)
    image = image.repeat_interleave(2, 2)  # quarters of 2x1 pixels
    views = HalfShiftTask().views(torch.cat([image, image + 10]))
    expected = [
        [[1, 2], [1, 2], [3, 4], [3, 4]],
        [[2, 1], [2, 1], [4, 3], [4, 3]],
        [[3, 4], [3, 4], [1, 2], [1, 2]],
        [[4, 3], [4, 3], [2, 1], [2, 1]],
    ]
    assert views[:4, 0].tolist() == expected
    assert (views[4:, 0] - 10).tolist() == expected


def test_both():
    images = torch.rand(2, 3, 4, 4)
    views = RotationPermutationTask().views(images)
    assert views.shape == (48, 3, 4, 4)
    # View 4 * ... of rotation k and order p is 6 * k + p.
    for image in range(2):
        for k in range(4):
            rotated = images[image].rot90(k, (1, 2))
            assert torch.equal(views[24 * image + 6 * k], rotated)
            assert torch.equal(
                views[24 * image + 6 * k + 5], rotated[[2, 1, 0]]
            )
    assert len(views.flatten(1).unique(dim=0)) == 48


@pytest.mark.parametrize(
    'name, num_views',
    [
        ('RotationTask', 4),
        ('ChannelPermutationTask', 6),
        ('RotationPermutationTask', 24),
        ('FlipTask', 4),
        ('HalfShiftTask', 4),
    ],
)
def test_registered(name, num_views):
    task = TASK_UTILS.get(name)()
    assert task.num_views == num_views
    assert len(task.views(torch.rand(3, 3, 4, 4))) == 3 * num_views


def test_joint_labels_by_hand():
    labels = joint_labels(torch.tensor([0, 2, 1]), 4)
    assert labels.tolist() == [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7]


def test_bad_shapes():
    with pytest.raises(ValueError, match='square images, but got 4x6'):
        RotationTask().views(torch.rand(1, 3, 4, 6))
    with pytest.raises(ValueError, match='3 channels, but got 1'):
        ChannelPermutationTask().views(torch.rand(1, 1, 4, 4))


@pytest.mark.parametrize(
    'shape, task, fitting',
    [
        ((1, 32, 64), 'RotationTask', 'FlipTask, HalfShiftTask, which'),
        (
            (3, 32, 64),
            'RotationPermutationTask',
            'FlipTask, HalfShiftTask, ChannelPermutationTask, which',
        ),
        (
            (1, 28, 28),
            'RotationPermutationTask',
            'RotationTask, FlipTask, HalfShiftTask, which',
        ),
    ],
)
def test_a_task_that_does_not_fit_names_those_that_do(
    scope, shape, task, fitting
):
    images = torch.zeros(2, *shape)
    with pytest.raises(ValueError, match=f'one of {fitting} take images of'):
        TASK_UTILS.build(dict(type=task)).views(images)
    for name in fitting.replace(', which', '').split(', '):
        views = TASK_UTILS.build(dict(type=name)).views(images)
        assert views.shape[1:] == shape


class Task:
    def __init__(self, num_views, views):
        self.num_views, self.views = num_views, views


def test_the_order_of_views():
    every = [RotationTask, FlipTask, HalfShiftTask, ChannelPermutationTask]
    for task in every:
        check_views(task(), (3, 8, 8))

    def in_order(images):
        return torch.stack([images, -images], 1).flatten(0, 1)

    def noisy(images):
        return in_order(images + torch.rand_like(images))

    state = torch.get_rng_state()
    for views in (in_order, noisy, lambda x: in_order(x[..., ::2])):
        check_views(Task(2, views), (1, 8, 8))
    # What mixes images has its own order.
    check_views(Task(2, lambda x: in_order(x + x.flip(0))), (1, 8, 8))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match=r'Task.* all images.*torch\.stack'):
        check_views(Task(2, lambda x: torch.cat([x, -x])), (1, 8, 8))
    with pytest.raises(ValueError, match=r'makes 6 views of 3 .*num_views=4'):
        check_views(Task(4, in_order), (1, 8, 8))
    alike = Task(3, lambda x: torch.stack([x, -x, x], 1).flatten(0, 1))
    with pytest.raises(ValueError, match='Views 0 and 2 of Task, .* 1x8x8,'):
        check_views(alike, (1, 8, 8))
    with pytest.raises(ValueError, match='No gradient passes through Task'):
        check_views(Task(2, lambda x: in_order(x.detach())), (1, 8, 8))
    with pytest.raises(ValueError, match='changes the images that it gets'):
        check_views(Task(2, lambda x: in_order(x.neg_())), (1, 8, 8))
    with pytest.raises((TypeError, ValueError), match='num_views of Task'):
        check_views(Task(2.0, in_order), (1, 8, 8))


@pytest.mark.parametrize('task', [FlipTask, HalfShiftTask])
@pytest.mark.parametrize('shape, other', [((1, 1, 20), 2), ((1, 20, 1), 1)])
def test_views_of_one_row_are_alike(task, shape, other):
    with pytest.raises(ValueError, match=f'Views 0 and {other} of .*Task'):
        check_views(task(), shape)
    check_views(task(), (1, 2, 2))


@pytest.mark.parametrize(
    'shape, task, said',
    [
        (
            (3, 1, 20),
            RotationTask,
            'set .*type to ChannelPermutationTask, which takes images of 3x1',
        ),
        ((1, 1, 20), RotationTask, 'no task .* views of 1x1x20 apart'),
        ((1, 20, 1), ChannelPermutationTask, 'no task .* of 1x20x1 apart'),
    ],
)
def test_no_task_is_named_whose_views_are_alike(shape, task, said):
    with pytest.raises(ValueError, match=said):
        check_views(task(), shape)
    if shape[0] == 3:
        check_views(ChannelPermutationTask(), shape)

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The networks of a user, and a call of seconds."""

import sys

import pytest
import torch
from helpers import TINY


@pytest.fixture
def net(home):
    """The user's class."""
    return sys.modules['tiny_net_of_a_user'].Net


@pytest.fixture
def teacher(home, net):
    """The trained teacher, as a user has it."""
    model = net(16)
    model.load_state_dict(torch.load(home / 't.pth', weights_only=True))
    return model


@pytest.fixture
def call(home, tmp_path):
    """``distill`` with all that a run of seconds needs."""
    from csd_mmrazor import distill

    def call(teacher, student, **arguments):
        return distill(
            teacher,
            student,
            **dict(
                dict(
                    image_shape=(1, 12, 12),
                    mean=[0.4],
                    std=[0.3],
                    val=str(home / 'val'),
                    budget=20,
                    work_dir=tmp_path / 'run',
                    schedule=TINY,
                    device='cpu',
                ),
                **arguments,
            ),
        )

    return call

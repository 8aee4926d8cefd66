# Copyright (c) csd_mmrazor developers. All rights reserved.
import pytest
import torch
import torch.nn as nn

from csd_mmrazor.models.utils import check_kept_state


class Centred(nn.Module):
    """Takes off the mean of what it has seen in training."""

    def __init__(self, persistent, kind):
        super().__init__()
        self.fc, self.kind = nn.Linear(16, 3), kind
        mean = torch.zeros(0 if kind == 'made once' else 3)
        self.register_buffer('mean', mean, persistent)

    def forward(self, inputs, mode='tensor'):
        logits = self.fc(inputs.flatten(1))
        if self.kind == 'made once':
            if not self.mean.numel():
                self.mean = torch.ones(3)
        elif self.kind == 'used once':
            self.mean = None
            return logits
        elif self.training or self.kind == 'made anew':
            self.mean = logits.detach().mean(0)
        return logits if self.kind == 'unused' else logits - self.mean


@pytest.mark.parametrize(
    'persistent, kind, is_lost',
    [
        (False, 'kept', True),
        (True, 'kept', False),
        (False, 'made anew', False),
        (False, 'made once', False),
        (False, 'used once', False),
        (False, 'unused', False),
    ],
)
def test_what_checkpoints_would_not_have(persistent, kind, is_lost):
    torch.manual_seed(0)
    net = nn.Module()
    net.inner = Centred(persistent, kind)
    net.forward = net.inner.forward
    net.eval()
    before = net.inner.mean
    images = torch.zeros(4, 1, 4, 4)
    if is_lost:
        with pytest.raises(ValueError, match='student .* in inner.mean, sin'):
            check_kept_state(net, images, 'student')
    else:
        check_kept_state(net, images, 'student')
    assert net.inner.mean is before and not net.inner.mean.any()
    assert not net.training and not net.inner.training

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A classifier of separable convolutions, as anyone may have one."""

from torch import Tensor, nn


class Net(nn.Module):
    """A convolution, three separable ones, and a linear layer on their mean.

    Args:
        width (int): Channels of the first convolution.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        pool = nn.MaxPool2d(2)
        self.body = nn.Sequential(
            *_convolution(1, width, 3),
            pool,
            *_convolution(width, width, 3, groups=width),
            *_convolution(width, 2 * width, 1),
            pool,
            *_convolution(2 * width, 2 * width, 3, groups=2 * width),
            *_convolution(2 * width, 4 * width, 1),
            *_convolution(4 * width, 4 * width, 3, groups=4 * width),
            *_convolution(4 * width, 4 * width, 1),
        )
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, 10)."""
        return self.fc(self.body(images).mean((2, 3)))


def _convolution(before: int, out: int, size: int, groups: int = 1) -> list:
    return [
        nn.Conv2d(
            *(before, out, size),
            padding=size // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    ]

# Copyright (c) csd_mmrazor developers. All rights reserved.
"""A classifier of three convolutions, as anyone may have one."""

from torch import Tensor, nn


class Net(nn.Module):
    """Three convolutions with BN, a mean over places and a linear layer.

    Args:
        width (int): Channels of the first convolution.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels = (1, width, 2 * width, 4 * width)
        layers = [
            layer
            for before, after in zip(channels, channels[1:])
            for layer in (
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
        ]
        # The mean is over what the last convolution sees.
        self.body = nn.Sequential(*layers[:-1])
        self.fc = nn.Linear(channels[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (N, 10)."""
        return self.fc(self.body(images).mean((2, 3)))

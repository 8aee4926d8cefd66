# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Prune the ResNet-56 of a config by Torch-Pruning, and write its weights.

    pip install torch-pruning
    python examples/prune.py resnet56.pth pruned_2x.pth --times 2

Of each block, channels between its two convolutions are removed, those with
the smallest weights. Maps between blocks stay as wide as they are, so that the
pruned network can be distilled from all of them.
"""

import argparse

import torch
import torch_pruning
from mmrazor.registry import MODELS

import csd_mmrazor  # noqa: F401  registers CIFARResNet
from csd_mmrazor.models.utils import load_weights

NETWORK = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmrazor.CIFARResNet', depth=56),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='mmpretrain.LinearClsHead', num_classes=10, in_channels=64),
)


def prune(network: torch.nn.Module, times: float) -> float:
    """Prune a network of blocks in place.

    Args:
        network (nn.Module): In eval mode.
        times (float): How many times fewer operations it is to have, about.

    Returns:
        float: How many times fewer it has.
    """
    example = torch.randn(1, 3, 32, 32)
    before, _ = torch_pruning.utils.count_ops_and_params(network, example)
    convolutions = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
    }
    torch_pruning.pruner.BasePruner(
        network,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        # Both convolutions of a block take as many operations less.
        pruning_ratio=1 - 1 / times,
        root_module_types=[torch.nn.Conv2d],
        ignored_layers=[
            layer
            for name, layer in convolutions.items()
            if not (name.endswith('.conv1') and 'layer' in name)
        ],
    ).step()
    after, _ = torch_pruning.utils.count_ops_and_params(network, example)
    return before / after


def main() -> None:
    parser = argparse.ArgumentParser(description='Prune ResNet-56')
    parser.add_argument('weights', help='of ResNet-56, to be pruned')
    parser.add_argument('out', help='where the pruned weights go to')
    parser.add_argument('--times', type=float, default=2)
    args = parser.parse_args()
    network = MODELS.build(NETWORK).eval()
    load_weights(network, args.weights, 'weights')
    found = prune(network, args.times)
    torch.save(network.state_dict(), args.out)
    print(f'{args.out}: {found:.2f} times fewer operations')


if __name__ == '__main__':
    main()

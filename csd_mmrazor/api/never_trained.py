# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether a teacher's weights have been forgotten."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ..models.utils import bn_layers, evaluating, logits_of

# Entropy of the answers, as a share of the highest, above which no image is
# surer than by chance. Of the images below, the surest one had, of networks
# with random weights: LeNet 0.996, VGG-11 0.998, two ViTs 0.92 and 0.98,
# ConvNeXt-T 0.956; of trained ones of MNIST: a LeNet of 86 % 0.14, with label
# smoothing of 0.2 0.23, a ViT of 80 % 0.11.
_UNSURE = 0.9


def signs_of_random_weights(
    network: nn.Module,
    channels: int,
    height: int,
    width: int,
    mean: Tensor,
    std: Tensor,
) -> str:
    """What tells that a network has never been trained.

    Args:
        network (nn.Module): A classifier, in the form that runs have.
        channels (int): Of its images.
        height (int): Of its images.
        width (int): Of its images.
        mean (Tensor): That they are normalised with, in 0..255.
        std (Tensor): Likewise.

    Returns:
        str: In words; empty if nothing does. Networks without BN layers can
        have random weights that nothing tells of.
    """
    layers = [
        layer
        for layer in bn_layers(network)
        if layer.running_mean is not None and layer.running_var is not None
    ]
    if layers:
        is_new = all(
            not layer.running_mean.any()
            and bool((layer.running_var == 1).all())
            for layer in layers
        )
        return (
            f'all of its {len(layers)} BN layers have the statistics of new '
            'ones, mean 0 and variance 1'
            if is_new
            else ''
        )
    if _has_learned(network):
        return ''
    images = _images(channels, height, width).to(mean.device) * 255
    with evaluating(network), torch.no_grad():
        answers = logits_of(network((images - mean) / std, mode='tensor'))
    shares = answers.double().softmax(1)
    entropy = torch.special.entr(shares).sum(1) / math.log(shares.shape[1])
    if not entropy.min() > _UNSURE:
        return ''
    return (
        f'to none of {len(images)} different images of noise and shapes it '
        'gives any class with more certainty than random weights do '
        f'(at most {100 * shares.max():.0f} %)'
    )


def _has_learned(network: nn.Module) -> bool:
    """Whether biases or weights of norm layers are as no new layer has them.

    New ones are alike, or biases within the bounds of PyTorch's layers. So
    they were in twelve networks with random weights, and in two of ten that 20
    steps had taken to 16 to 62 % of test images of MNIST.
    """
    for layer in network.modules():
        weight = getattr(layer, 'weight', None)
        bias = getattr(layer, 'bias', None)
        if not isinstance(weight, Tensor) or not isinstance(bias, Tensor):
            continue
        if weight.ndim == 1:
            if bool((weight != weight[0]).any() or (bias != bias[0]).any()):
                return True
        elif isinstance(layer, (nn.Linear, _ConvNd)):
            bound = 1.01 / math.sqrt(weight[0].numel())
            is_alike = bool((bias == bias[0]).all())
            if not is_alike and bias.abs().max() > bound:
                return True
    return False


def _images(channels: int, height: int, width: int) -> Tensor:
    """Noise, smooth colours and blocks, (40, C, H, W), in 0..1."""
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.rand(8, channels, *size, generator=generator)

    size = height, width
    smooth = [
        F.interpolate(draw(n, n), size, mode='bilinear') for n in (2, 4, 8)
    ]
    blocks = F.interpolate((draw(4, 4) > 0.5).float(), size)
    return torch.cat([draw(*size), *smooth, blocks])

# Copyright (c) csd_mmrazor developers. All rights reserved.
from .vgg_cifar import VGG_CIFAR

__all__ = ['VGG_CIFAR']

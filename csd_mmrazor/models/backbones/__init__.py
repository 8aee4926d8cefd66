# Copyright (c) csd_mmrazor developers. All rights reserved.
from .cifar_resnet import CIFARResNet
from .vgg_cifar import VGG_CIFAR

__all__ = ['CIFARResNet', 'VGG_CIFAR']

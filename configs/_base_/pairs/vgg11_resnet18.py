# VGG-11 > ResNet-18. A config of configs/csd adds the data set.
student = dict(
    backbone=dict(type='ResNet_CIFAR', depth=18),
    head=dict(in_channels=512),
)
teacher = dict(
    backbone=dict(type='mmrazor.VGG_CIFAR', depth=11),
    head=dict(in_channels=512),
)

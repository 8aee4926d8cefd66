# VGG-11 on CIFAR-100, a teacher for configs/csd.
_base_ = '../_base_/teacher_cifar100.py'

model = dict(
    backbone=dict(type='mmrazor.VGG_CIFAR', depth=11),
    head=dict(in_channels=512),
)

# ResNet-34 on CIFAR-100, a teacher for configs/csd.
_base_ = '../_base_/teacher_cifar100.py'

model = dict(
    backbone=dict(type='ResNet_CIFAR', depth=34),
    head=dict(in_channels=512),
)

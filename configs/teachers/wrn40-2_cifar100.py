# WRN-40-2 on CIFAR-100, a teacher for configs/csd.
_base_ = '../_base_/teacher_cifar100.py'

model = dict(
    backbone=dict(type='mmrazor.WideResNet', depth=40, widen_factor=2),
    head=dict(in_channels=128),
)

# ResNet-34 on SVHN, a teacher for configs/csd.
_base_ = '../_base_/teacher_svhn.py'

model = dict(
    backbone=dict(type='ResNet_CIFAR', depth=34),
    head=dict(in_channels=512),
)

# ResNet-34 on Tiny-ImageNet, a teacher for configs/csd.
_base_ = '../_base_/teacher_tiny-imagenet.py'

model = dict(
    backbone=dict(type='ResNet_CIFAR', depth=34),
    head=dict(in_channels=512),
)

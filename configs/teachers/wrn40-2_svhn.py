# WRN-40-2 on SVHN, a teacher for configs/csd.
_base_ = '../_base_/teacher_svhn.py'

model = dict(
    backbone=dict(type='mmrazor.WideResNet', depth=40, widen_factor=2),
    head=dict(in_channels=128),
)

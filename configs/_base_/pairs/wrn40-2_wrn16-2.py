# WRN-40-2 > WRN-16-2. A config of configs/csd adds the data set.
_base_ = './wrn40-2.py'

student = dict(
    backbone=dict(type='mmrazor.WideResNet', depth=16, widen_factor=2),
    head=dict(in_channels=128),
)

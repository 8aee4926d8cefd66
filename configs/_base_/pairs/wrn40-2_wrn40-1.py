# WRN-40-2 > WRN-40-1. A config of configs/csd adds the data set.
_base_ = './wrn40-2.py'

student = dict(
    backbone=dict(type='mmrazor.WideResNet', depth=40, widen_factor=1),
    head=dict(in_channels=64),
)

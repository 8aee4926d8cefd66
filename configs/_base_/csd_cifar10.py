# CSD, validated on CIFAR-10. A config of configs/csd adds the networks.
_base_ = ['./csd.py', './cifar10.py']

model = dict(
    architecture=_base_.classifier,
    teachers=dict(teacher=dict(build_cfg=_base_.classifier)),
    data_preprocessor=_base_.data_preprocessor,
)

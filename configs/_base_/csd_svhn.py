# CSD, validated on SVHN. A config of configs/csd adds the networks.
_base_ = ['./csd.py', './svhn.py']

# A flipped or cropped digit may be another digit, or none. The authors' code
# does not augment SVHN either.
default_hooks = dict(synthesis=dict(synthesizer=dict(augment=None)))
model = dict(
    architecture=_base_.classifier,
    teachers=dict(teacher=dict(build_cfg=_base_.classifier)),
    data_preprocessor=dict(augment=None, **_base_.data_preprocessor),
)

# CSD, validated on SVHN. A pair's config names the backbones.
_base_ = ['./csd.py', './svhn.py']

# A mirrored or cut digit is another one or none (authors' code: no
# augmentation for SVHN).
default_hooks = dict(synthesis=dict(synthesizer=dict(augment=None)))
model = dict(
    architecture=_base_.classifier,
    teachers=dict(teacher=dict(build_cfg=_base_.classifier)),
    data_preprocessor=dict(augment=None, **_base_.data_preprocessor),
)

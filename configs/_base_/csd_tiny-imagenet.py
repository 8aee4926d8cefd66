# CSD, validated on Tiny-ImageNet. A config of configs/csd adds the networks.
_base_ = ['./csd.py', './tiny-imagenet.py']

img_size = 64
# 8 pixels are the same fraction of the image as 4 pixels at 32x32.
augment = dict(type='RandomCropFlip', padding=8)
default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(generator=dict(img_size=img_size), augment=augment)
    )
)
model = dict(
    image_shape=(3, img_size, img_size),
    architecture=_base_.classifier,
    teachers=dict(teacher=dict(build_cfg=_base_.classifier)),
    data_preprocessor=dict(augment=augment, **_base_.data_preprocessor),
)

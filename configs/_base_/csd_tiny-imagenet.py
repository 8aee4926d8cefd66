# CSD, validated on Tiny-ImageNet. A pair's config names the backbones.
_base_ = ['./csd.py', './tiny-imagenet.py']

img_size = 64
# The share of the image that 4 pixels are at 32.
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

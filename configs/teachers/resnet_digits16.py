# Teacher of the study on 16x16 digits (docs/results.md), half as wide as the
# teacher of the quickstart.
_base_ = ['./resnet_digits.py', '../_base_/pairs/resnet_digits16.py']

img_size = 16

data_preprocessor = dict(std=[81.3])
model = _base_.teacher

train_dataloader = dict(
    dataset=dict(
        img_size=img_size,
        pipeline=[
            # No flips: a flipped digit may be another digit, or none.
            dict(type='RandomCrop', crop_size=img_size, padding=2),
            dict(type='PackInputs'),
        ],
    )
)
val_dataloader = dict(dataset=dict(img_size=img_size))
test_dataloader = val_dataloader

# A teacher for Tiny-ImageNet. A config of configs/teachers names the
# backbone.
_base_ = ['./teacher.py', './tiny-imagenet.py']

model = _base_.classifier
# Reads the published files, or <data_root>/train, like val_dataloader.
train_dataloader = dict(
    dataset=dict(
        type=_base_.val_dataloader.dataset.type,
        data_root=_base_.val_dataloader.dataset.data_root,
        split='train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomCrop', crop_size=64, padding=8),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    )
)

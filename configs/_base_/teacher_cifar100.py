# A teacher for CIFAR-100. A config of configs/teachers names the backbone.
_base_ = ['./teacher.py', './cifar100.py']

model = _base_.classifier
# Reads the published files, or <data_root>/train, like val_dataloader.
train_dataloader = dict(
    dataset=dict(
        type=_base_.val_dataloader.dataset.type,
        data_root=_base_.val_dataloader.dataset.data_root,
        split='train',
        pipeline=[
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    )
)

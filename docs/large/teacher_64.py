# ResNet-18 of a quarter of the width on CIFAR-10, enlarged to 64 pixels: a
# teacher for csd_64.py. The schedule is cut to minutes of a CPU.
_base_ = ['../../configs/_base_/teacher.py', '../../configs/_base_/cifar10.py']

max_epochs = 1
enlarge = dict(type='Resize', scale=64, interpolation='bicubic')
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet',
        depth=18,
        stem_channels=16,
        base_channels=16,
        norm_cfg=dict(type='BN'),
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=128,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = dict(
    _delete_=True,
    type='OneCycleLR',
    eta_max=0.2,
    total_steps=max_epochs * 391,
    by_epoch=False,
)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type='mmrazor.CIFAR10Images',
        data_root='data/cifar10',
        split='train',
        pipeline=[
            dict(type='RandomCrop', crop_size=32, padding=4),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            enlarge,
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=[enlarge, dict(type='PackInputs')]),
)
test_dataloader = val_dataloader

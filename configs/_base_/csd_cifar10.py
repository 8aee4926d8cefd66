# CSD, validated on CIFAR-10.
_base_ = './csd.py'

# Student and teacher are classifiers of mmpretrain; a pair's config names
# their backbones.
classifier = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
model = dict(
    architecture=classifier,
    teachers=dict(teacher=dict(build_cfg=classifier)),
    data_preprocessor=dict(
        num_classes=10,
        # Of the real training images, RGB, 0..255: the teacher's.
        mean=[125.307, 122.961, 113.8575],
        std=[51.5865, 50.847, 51.255],
        to_rgb=False,
    ),
)
del classifier

# Downloads CIFAR-10, or takes <data_root>/test/<class>/*.png:
#   --cfg-options val_dataloader.dataset.data_root=FOLDER
val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    dataset=dict(
        type='mmrazor.CIFAR10Images',
        data_root='data/cifar10',
        split='test',
        pipeline=[dict(type='PackInputs')],
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

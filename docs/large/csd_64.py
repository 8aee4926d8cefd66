# The ImageNet config at 64 pixels, on CIFAR-10 enlarged to that size, cut to
# minutes of a CPU. The teacher is that of teacher_64.py, the student has half
# as many channels.
_base_ = '../../configs/_base_/csd_imagenet.py'

img_size = 64
max_epochs = 6
steps, batch_size = 40, 64

mean = [125.307, 122.961, 113.8575]
std = [51.5865, 50.847, 51.255]
classifier = dict(
    type='mmpretrain.ImageClassifier',
    backbone=dict(type='mmpretrain.ResNet', depth=18),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(
        type='mmpretrain.LinearClsHead',
        num_classes=10,
        loss=dict(type='mmpretrain.CrossEntropyLoss'),
    ),
)
model = dict(
    image_shape=(3, img_size, img_size),
    architecture={
        **classifier,
        'backbone': dict(
            type='mmpretrain.ResNet',
            depth=18,
            stem_channels=8,
            base_channels=8,
        ),
        'head': {**classifier['head'], 'in_channels': 64},
    },
    teachers=dict(
        teacher=dict(
            build_cfg={
                **classifier,
                '_delete_': True,
                'backbone': dict(
                    type='mmpretrain.ResNet',
                    depth=18,
                    stem_channels=16,
                    base_channels=16,
                ),
                'head': {**classifier['head'], 'in_channels': 128},
            },
            ckpt_path='work_dirs/teacher_64/epoch_1.pth',
        )
    ),
    data_preprocessor=dict(num_classes=10, mean=mean, std=std, to_rgb=False),
)
data_preprocessor = dict(num_classes=10, mean=mean, std=std, to_rgb=False)
default_hooks = dict(
    synthesis=dict(
        init_rounds=6,
        init_iters=40,
        synthesizer=dict(
            batch_size=64,
            iters=30,
            optimizer=dict(lr=5e-3),
            amp=None,
            generator=dict(hidden_channels=16),
        ),
    )
)
optim_wrapper = dict(
    architecture=dict(type='OptimWrapper'),
    aux_head=dict(type='OptimWrapper'),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
auto_scale_lr = dict(base_batch_size=batch_size)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(storage='host'),
    sampler=dict(num_samples=steps * batch_size),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    dataset=dict(
        _delete_=True,
        type='mmrazor.CIFAR10Images',
        data_root='data/cifar10',
        split='test',
        pipeline=[
            dict(type='Resize', scale=64, interpolation='bicubic'),
            dict(type='PackInputs'),
        ],
    ),
)
val_evaluator = dict(topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

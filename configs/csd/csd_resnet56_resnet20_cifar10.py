# ResNet-56 > ResNet-20 (He et al.'s networks for CIFAR) on CIFAR-10, the
# paper's schedule.
_base_ = '../_base_/csd_cifar10.py'

# Mean and std that the teacher was trained with: ImageNet's, RGB, 0..255.
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
)
model = dict(
    # The student, trained from scratch: 0.27 M weights.
    architecture=dict(
        backbone=dict(type='mmrazor.CIFARResNet', depth=20),
        head=dict(in_channels=64),
    ),
    # The teacher, a third-party checkpoint: 0.85 M weights, 93.39 % top-1. To
    # use another file of the same network:
    #   --cfg-options model.teachers.teacher.ckpt_path=FILE
    teachers=dict(
        teacher=dict(
            build_cfg=dict(
                backbone=dict(type='mmrazor.CIFARResNet', depth=56),
                head=dict(in_channels=64),
            ),
            ckpt_path='https://github.com/akamaster/pytorch_resnet_cifar10/'
            'raw/master/pretrained_models/resnet56-4bfd9763.th',
            # Maps the names of the checkpoint to mmpretrain's.
            revise_keys=[
                (r'^module\.linear\.', 'head.fc.'),
                (r'^module\.', 'backbone.'),
            ],
        )
    ),
    data_preprocessor=data_preprocessor,
)

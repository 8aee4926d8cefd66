# ResNet-34 > ResNet-18 on SVHN, the paper's schedule.
_base_ = '../_base_/csd_svhn.py'

model = dict(
    # The student, from scratch.
    architecture=dict(
        backbone=dict(type='ResNet_CIFAR', depth=18),
        head=dict(in_channels=512),
    ),
    # The teacher, by configs/teachers/resnet34_svhn.py.
    teachers=dict(
        teacher=dict(
            build_cfg=dict(
                backbone=dict(type='ResNet_CIFAR', depth=34),
                head=dict(in_channels=512),
            ),
            ckpt_path='work_dirs/resnet34_svhn/epoch_200.pth',
        )
    ),
)

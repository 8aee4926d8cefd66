# ResNet-34 > ResNet-18 on CIFAR-100, the paper's schedule.
_base_ = '../_base_/csd_cifar100.py'

model = dict(
    # The student, from scratch.
    architecture=dict(
        backbone=dict(type='ResNet_CIFAR', depth=18),
        head=dict(in_channels=512),
    ),
    # The teacher, by configs/teachers/resnet34_cifar100.py.
    teachers=dict(
        teacher=dict(
            build_cfg=dict(
                backbone=dict(type='ResNet_CIFAR', depth=34),
                head=dict(in_channels=512),
            ),
            ckpt_path='work_dirs/resnet34_cifar100/epoch_200.pth',
        )
    ),
)

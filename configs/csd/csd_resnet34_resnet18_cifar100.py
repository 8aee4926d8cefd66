# ResNet-34 > ResNet-18 on CIFAR-100, the paper's schedule.
_base_ = ['../_base_/csd_cifar100.py', '../_base_/pairs/resnet34_resnet18.py']

model = dict(
    architecture=_base_.student,
    # The teacher is trained by configs/teachers/resnet34_cifar100.py.
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher,
            ckpt_path='work_dirs/resnet34_cifar100/epoch_200.pth',
        )
    ),
)

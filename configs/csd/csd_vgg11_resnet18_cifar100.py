# VGG-11 > ResNet-18 on CIFAR-100, the paper's schedule.
_base_ = ['../_base_/csd_cifar100.py', '../_base_/pairs/vgg11_resnet18.py']

model = dict(
    architecture=_base_.student,
    # The teacher is trained by configs/teachers/vgg11_cifar100.py.
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher,
            ckpt_path='work_dirs/vgg11_cifar100/epoch_200.pth',
        )
    ),
)

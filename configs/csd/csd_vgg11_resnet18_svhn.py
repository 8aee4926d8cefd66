# VGG-11 > ResNet-18 on SVHN, the paper's schedule.
_base_ = ['../_base_/csd_svhn.py', '../_base_/pairs/vgg11_resnet18.py']

model = dict(
    architecture=_base_.student,
    # The teacher is trained by configs/teachers/vgg11_svhn.py.
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher,
            ckpt_path='work_dirs/vgg11_svhn/epoch_200.pth',
        )
    ),
)

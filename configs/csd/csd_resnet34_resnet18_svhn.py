# ResNet-34 > ResNet-18 on SVHN, the paper's schedule.
_base_ = ['../_base_/csd_svhn.py', '../_base_/pairs/resnet34_resnet18.py']

model = dict(
    architecture=_base_.student,
    # The teacher is trained by configs/teachers/resnet34_svhn.py.
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher,
            ckpt_path='work_dirs/resnet34_svhn/epoch_200.pth',
        )
    ),
)

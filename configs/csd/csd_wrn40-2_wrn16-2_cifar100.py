# WRN-40-2 > WRN-16-2 on CIFAR-100, the paper's schedule.
_base_ = ['../_base_/csd_cifar100.py', '../_base_/pairs/wrn40-2_wrn16-2.py']

model = dict(
    architecture=_base_.student,
    # The teacher is trained by configs/teachers/wrn40-2_cifar100.py.
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher,
            ckpt_path='work_dirs/wrn40-2_cifar100/epoch_200.pth',
        )
    ),
    distiller=_base_.distiller,
)

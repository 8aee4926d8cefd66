# WRN-40-2 > WRN-40-1 on SVHN, the paper's schedule.
_base_ = ['../_base_/csd_svhn.py', '../_base_/pairs/wrn40-2_wrn40-1.py']

model = dict(
    architecture=_base_.student,
    # The teacher is trained by configs/teachers/wrn40-2_svhn.py.
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher,
            ckpt_path='work_dirs/wrn40-2_svhn/epoch_200.pth',
        )
    ),
    distiller=_base_.distiller,
)
